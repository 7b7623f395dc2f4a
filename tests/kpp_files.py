"""Mechanisms in KPP's language as they are distributed, and the rules that such a file keeps."""

import re

from problems import shared

import jaxchem

FILES = {  # species, of them fixed, reactions, quantities that the user gives
    "kpp_models/small_strato.def": (7, 2, 10, 0),
    "kpp_models/carbon.def": (11, 4, 5, 0),
    "kpp_models/saprc99.def": (79, 5, 211, 0),
    "kpp_models/saprcnov.def": (93, 5, 235, 0),
    "dsmacc_kpp_cbm4/cbm4.def": (33, 1, 81, 0),
    "dsmacc_kpp_strato/strato.def": (40, 6, 109, 0),
    "cri_subset/CRI_subset.kpp": (432, 0, 1190, 1),
    "arca_SimpleChem/second.def": (314, 4, 882, 1),
    "arca_SimpleChem/mcm_export.eqn": (313, 0, 881, 0),
    "kpp_mcm_isoprene/mcm_isoprene.eqn": (610, 0, 1944, 0),
    "geoschem_14.7/fullchem.eqn": (349, 3, 1058, 285),
    "geoschem_14.7/Hg.eqn": (38, 11, 94, 58),
    "geoschem_14.7/carbon.eqn": (14, 5, 8, 7),
}


def mechanism(name):
    return jaxchem.load(shared("data", "mechanisms", *name.split("/")))


FORTRAN = "EXP LOG LOG10 SQRT ABS MIN MAX".split()
KPP_LAWS = "ARR_ab ARR_ac ARR_abc k_3rd k_3rd_iupac k_arr".split()
KPP_OWN = "TEMP SUN TIME CFACTOR".split()
MAY_SET = "TEMP TSTART TEND DT".split()


def kpp_side(side, faults, species):
    """Net counts of one side of an equation, by KPP's grammar."""
    counts = {}
    for i, part in enumerate(re.split(r" (?=[+-] )", side)):
        match = re.fullmatch(r"([+-] )?(\d+(?:\.\d+)?(?:e[+-]\d+)? )?([A-Za-z]\w*)", part)
        if match is None or (match[1] is None) != (i == 0):
            faults.append(f"term {part!r} of {side!r}")
        elif match[3] not in ("hv", "PROD"):
            if match[3] not in species:
                faults.append(f"species {match[3]!r} is not declared")
            sign = -1 if match[1] == "- " else 1
            counts[match[3]] = counts.get(match[3], 0) + sign * float(match[2] or 1)
    return frozenset(counts.items())


def kpp_expression(text, faults, variables, functions, species):
    """Complains of what Fortran would not compile, or would read in single precision."""
    inside = r"(?:[^()]|\([^()]*\))*"
    text = re.sub(rf"\b({'|'.join(functions) or ' '})\({inside}\)", "1D0", text)
    for argument in re.findall(r"\bJ\(([^)]*)\)", text):
        if not argument.isdecimal() or int(argument) > variables.get("J", 0):
            faults.append(f"J({argument})")
    text = re.sub(r"\bJ\(\d+\)", "1D0", text)
    for member in re.findall(r"\bC\(ind_(\w+)\)", text):
        if member not in species:
            faults.append(f"C(ind_{member})")
    text = re.sub(r"\bC\(ind_\w+\)", "1D0", text)
    if match := re.search(r"(\*|/|\+|-)\s*[+-]", text):
        faults.append(f"signs in {text[match.start() - 20 : match.end() + 20]!r}")
    for number in re.findall(r"(?<![\w.])\d[\w.]*(?:(?<=D)[+-]\d+)?", text):
        if not re.fullmatch(r"\d+(\.\d+)?D[+-]?\d+", number):
            faults.append(f"number {number}")
    for name, call in re.findall(r"(?<![\w.])([A-Za-z]\w*)(\()?", text):
        if name not in ([*FORTRAN, *KPP_LAWS] if call else [*KPP_OWN, *variables]):
            faults.append(f"{name!r} is not declared in {text[:80]!r}")
    if text.count("(") != text.count(")"):
        faults.append(f"brackets of {text!r}")


def kpp_faults(text):
    """What KPP 3 or Fortran would refuse in a file, by the rules of their manuals."""
    faults = [] if text.startswith("#LANGUAGE Fortran90\n") else ["language"]
    host = re.search(r"\{ Functions of the host: ([^}]*) \}", text)
    functions = host[1].replace(",", " ").split() if host else []
    inlined = dict(re.findall(r"^#INLINE F90_(\w+)\n(.*?)^#ENDINLINE$", text, re.M | re.S))
    faults += [line for code in inlined.values() for line in code.split("\n") if len(line) > 132]
    rest = re.sub(r"^#INLINE.*?^#ENDINLINE$", "", text, flags=re.M | re.S)
    rest = re.sub(r"\{[^{}]*\}", "", rest)
    if re.search(r"[{}]", rest) or not rest.isascii():
        faults.append("comments")
    sections = re.findall(r"^#(\w+)([^#]*)", rest, re.MULTILINE)
    entries = {}
    for title, body in sections:
        entries.setdefault(title, []).extend(e.strip() for e in body.split(";") if e.strip())
    atoms = set(entries.get("ATOMS", ()))
    species = {}
    for entry in (*entries.get("DEFVAR", ()), *entries.get("DEFFIX", ())):
        name, _, formula = entry.partition(" = ")
        if not re.fullmatch(r"[A-Za-z]\w{0,29}", name) or name.upper() in (
            *("HV", "PROD", "CFACTOR", "ALL_SPEC", "VAR_SPEC", "FIX_SPEC"),
            *map(str.upper, species),
        ):
            faults.append(f"species {name}")
        species[name] = formula
        for part in formula.split(" + ") if formula != "IGNORE" else ():
            if re.sub(r"^\d+", "", part) not in atoms:
                faults.append(f"atom {part} of {name}")
    faults += [f"check {e}" for e in entries.get("CHECK", ()) if e not in atoms]
    for entry in entries.get("INITVALUES", ()):
        name, _, value = entry.partition(" = ")
        if name not in (*species, "CFACTOR") or not re.fullmatch(r"\d+\.\d+(e[+-]?\d+)?", value):
            faults.append(f"value {entry}")
    variables = {}
    for line in inlined.get("GLOBAL", "").splitlines():
        pattern = r"  REAL\(dp\) :: ([A-Za-z]\w{0,62})(?:\((\d+)\))?"
        name, size = re.fullmatch(pattern, line).groups()
        known = {*map(str.upper, variables), *KPP_OWN, *MAY_SET, "C", "RCONST", "VAR", "FIX"}
        if name.upper() in known:
            faults.append(f"declaration of {name}")
        variables[name] = int(size or 0)
    done = set()
    for kind in ("INIT", "RCONST"):
        for statement in inlined.get(kind, "").replace(" &\n", " ").splitlines():
            name, _, value = statement.strip().partition(" = ")
            if name in done or name not in [*variables, *(MAY_SET if kind == "INIT" else ())]:
                faults.append(f"assignment {statement}")
            kpp_expression(value, faults, variables, functions, species)
            later = {*re.findall(r"^  (\w+) = ", inlined[kind], re.MULTILINE)} - done
            faults += [f"{n} comes later" for n in {*re.findall(r"\w+", value)} & later]
            done.add(name)
    seen = set()
    for entry in entries["EQUATIONS"]:
        label, sides, rate = re.fullmatch(r"(<R\d+>) ([^:]*) : (.*)", entry).groups()
        left, right = sides.split(" = ")
        key = (kpp_side(left, faults, species), kpp_side(right, faults, species))
        if key in seen or label in seen:
            faults.append(f"{sides} twice")
        seen |= {key, label}
        if len(rate) > 1100 or (re.search(r"\bSUN\b|\bJ\(|\bPHOTOL\(", rate) and "hv" not in left):
            faults.append(f"rate of {sides}")
        kpp_expression(rate, faults, variables, functions, species)
    return faults
