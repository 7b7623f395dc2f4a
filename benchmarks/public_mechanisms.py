"""What becomes of public mechanism files: read, with as many reactions as they have, or refused.

    python benchmarks/public_mechanisms.py FOLDER [FOLDER ...]

A folder is a project's checkout. Every file in it that may be a mechanism is loaded; reactions are
counted a second time by a few lines here that know nothing of jaxchem's readers (KPP, FACSIMILE and
F0AM; includes are followed). Prints a row a file, and a table of folders.
"""

import argparse
import re
import time
import warnings
from collections import Counter
from pathlib import Path

import jaxchem

SUFFIXES = (".kpp", ".def", ".eqn", ".fac", ".in", ".m", ".json", ".yaml", ".csv", ".dat", ".inp")


def without_comments(text: str) -> str:
    """KPP's text without braces and what stands after slashes."""
    text = re.sub(r"(?ims)^[ \t]*#INLINE.*?^[ \t]*#ENDINLINE[^\n]*", "", text)
    kept, inside = [], False
    for line in text.splitlines():
        line = re.sub(r"//.*", "", line) if not inside else line
        for part in re.split(r"([{}])", line):
            if part in "{}" and part:
                inside = part == "{"
            elif not inside:
                kept.append(part)
        kept.append("\n")
    return "".join(kept)


def equations_of_kpp(path: Path, seen: set[Path]) -> int:
    """Entries with '=' and ':' in the sections #EQUATIONS of a file and its includes."""
    if path in seen or not path.is_file():
        return 0
    seen.add(path)
    count = 0
    text = without_comments(path.read_text(encoding="latin-1"))
    for part in re.split(r"(?m)^[ \t]*#", text)[1:]:
        word, *rest = part.split(None, 1) or [""]
        body = rest[0] if rest else ""
        name = body.split()[0].rstrip(";") if body.split() else ""
        if word.upper() == "INCLUDE":
            places = (path.parent / name, path.parent / f"{name}.kpp")
            count += sum(equations_of_kpp(place, seen) for place in places)
        elif word.upper() == "MODEL":
            count += equations_of_kpp(path.parent / f"{name}.def", seen)
        elif word.upper() == "EQUATIONS":
            count += sum("=" in entry and ":" in entry for entry in body.split(";"))
    return count


def counted(path: Path) -> int | None:
    """Reactions of a file, by this script's own reading; `None` where it has none."""
    text = path.read_text(encoding="latin-1")
    if re.search(r"(?im)^[ \t]*#(EQUATIONS|INCLUDE|MODEL)\b", text):
        return equations_of_kpp(path, set())
    if path.suffix == ".fac":
        lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("*"))
        return len(re.findall(r"%[^;%]*:[^;%]*=[^;%]*;", lines))
    if path.suffix == ".m":
        return len(re.findall(r"(?m)^[^%\n]*\bRnames\{", text)) or None
    return None


def main() -> None:
    """Rows and tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path)
    rows = []
    for folder in parser.parse_args().folder:
        found: Counter[str] = Counter()
        for path in sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file()):
            begin = time.process_time()
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                try:
                    network = jaxchem.load(path)
                except ValueError as refused:
                    message = " ".join(str(refused).split())
                    strange = "not a network" in message or "there is no equation" in message
                    found["no mechanism" if strange else "refused"] += 1
                    if not strange:
                        print(f"{path.relative_to(folder)}: refused: {message[:300]}")
                    continue
            # a rate of several terms is as many reactions from one source
            read = len(dict.fromkeys(zip(network.sources, network.equations, strict=True)))
            own, taken = counted(path), time.process_time() - begin
            same = "not counted" if own is None else "equal" if own == read else "DIFFERENT"
            found["read"] += 1
            found[same] += 1
            found["reactions"] += read
            print(
                f"{path.relative_to(folder)}: {read} reactions ({own} counted apart: {same}), "
                f"{len(network.species)} species, {len(network.user_quantities)} to give, "
                f"{len(told)} warnings, {taken:.1f} s"
            )
        rows.append((folder.name, found))
    print("\n| project | read | reactions | counted apart | equal | refused |")
    print("|---|---|---|---|---|---|")
    for name, found in rows:
        apart = found["equal"] + found["DIFFERENT"]
        print(
            f"| {name} | {found['read']} | {found['reactions']} | {apart} | {found['equal']} "
            f"| {found['refused']} |"
        )


if __name__ == "__main__":
    main()
