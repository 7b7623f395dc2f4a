"""MUSICA's mechanisms of version 0: units, third bodies, and errors in the file of the line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from musica_cases import (
    BRANCHED,
    DIFFUSION,
    FALLOFF,
    GAS,
    USER,
    WEIGHT,
    falloff,
    load,
    nitrate,
    surface,
)

from jaxchem.network import MechanismError
from jaxchem.parse import table


def old(tmp_path: Path, species: list, reactions: list) -> Path:
    parts = {
        "species.json": [{"type": "CHEM_SPEC", **s} for s in species]
        + [{"type": "RELATIVE_TOLERANCE", "value": 1e-4}],
        "reactions.json": [{"type": "MECHANISM", "name": "old", "reactions": reactions}],
    }
    for name, content in parts.items():
        (tmp_path / name).write_text(json.dumps({"camp-data": content}, indent=1))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"camp-files": list(parts)}))
    return config


OLD_SPECIES = [
    {
        "name": "A",
        "absolute tolerance": 1e-12,
        "molecular weight [kg mol-1]": WEIGHT,
        "diffusion coefficient [m2 s-1]": DIFFUSION,
    },
    {"name": "B"},
    {"name": "M", "tracer type": "THIRD_BODY"},
    {"name": "O2", "tracer type": "CONSTANT"},
]


def test_version_0(tmp_path):
    """Rate coefficients in molecule cm-3 become mol m-3, third bodies among the reactants."""
    one, two = {"A": {}, "O2": {}}, {"A": {"qty": 2}, "M": {}}
    products = {"B": {"yield": 0.5}, "M": {}}
    common = {"reactants": two, "products": products}
    fall = {k: v for k, v in FALLOFF.items() if k not in ("k0_A", "kinf_A")}
    fall |= {"k0_A": 1e-31, "kinf_A": 2e-11}
    branches = {"alkoxy products": {"B": {}}, "nitrate products": {"B": {"yield": 2}}}
    path = old(
        tmp_path,
        OLD_SPECIES,
        [
            {"type": "ARRHENIUS", "A": 3e-33, "B": 1.0, "MUSICA name": "R1", **common},
            {"type": "ARRHENIUS", "A": 3e-12, "Ea": 0, "reactants": one, "products": {}},
            {"type": "TROE", **fall, "reactants": one, "products": products},
            {"type": "TERNARY_CHEMICAL_ACTIVATION", **fall, "reactants": one, "products": {}},
            {"type": "WENNBERG_TUNNELING", "A": 1e-12, "B": 5.0, **common},
            {"type": "WENNBERG_NO_RO2", **BRANCHED, "X": 2.7e-12, "reactants": one, **branches},
            {"type": "PHOTOLYSIS", "MUSICA name": "A->B", "reactants": {"A": {}}, "products": {}},
            {"type": "EMISSION", "MUSICA name": "e", "species": "B", "scaling factor": 3},
            {"type": "FIRST_ORDER_LOSS", "MUSICA name": "l", "species": "B"},
            {
                "type": "SURFACE",
                "MUSICA name": "j x",
                "gas-phase reactant": "A",
                "gas-phase products": {"B": {}},
                "reaction probability": 0.02,
            },
        ],
    )
    network = load(path)
    assert network.species == ("A", "B", "O2") and network.fixed == ("O2",)
    assert network.name == "old"
    assert network.equations == (
        *("2 A -> 0.5 B", "A + O2 ->", "A + O2 -> 0.5 B", "A + O2 ->", "2 A -> 0.5 B"),
        *("A + O2 -> B", "A + O2 -> 2 B", "A ->", "-> B", "B ->", "A -> B"),
    )
    t, p = 250.0, 5e4
    m, cm3 = p / GAS / t, 6.02214076e17
    # as in molecule cm-3, the density included, then as many concentrations as react
    k0, low = falloff(t, m * cm3, fall)
    expected = [
        *(3e-33 * (t / 300) * m * cm3**2, 3e-12 * cm3, k0 * m * cm3 / low * cm3, k0 * cm3**2 / low),
        1e-12 * math.exp(-5 / t) * cm3**2 * m,
        *(nitrate(t, m, alkoxy) * 2.7e-12 / 2.7e3 * cm3 for alkoxy in (True, False)),
        *(3e-3, 3 * 7e-3, 2e-3, surface(t)),
    ]
    values = {"PHOTO.A->B": 3e-3, "EMIS.e": 7e-3, "LOSS.l": 2e-3}
    values |= {n: v for n, v in USER.items() if n.startswith("SURF")}
    k = network.rates(temperature=t, pressure=p, quantities=values)
    np.testing.assert_allclose(k, expected, rtol=1e-12)
    assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network)


def test_version_0_errors_name_the_file_of_the_line(tmp_path):
    bad = {"type": "ARRHENIUS", "A": 1, "reactants": {"A": {"quantity": 2}}, "products": {}}
    path = old(tmp_path, OLD_SPECIES, [bad])
    with pytest.raises(MechanismError, match=r"reactions.json, line \d+: unknown key 'quantity'"):
        load(path)
    path.write_text('{"camp-files": [\n"species.json",\n"no.json"]}')
    with pytest.raises(MechanismError, match=r"config.json, line 3: there is no file"):
        load(path)
    path.write_text('{"camp-data": [{"type": "RELATIVE_TOLERANCE", "value": "1e-4 x"}]}')
    with pytest.raises(MechanismError, match=r"line 1: '1e-4 x' is not a finite number"):
        load(path)
    path.write_text('{"camp-files": ["species.json", "species.json"]}')
    with pytest.raises(MechanismError, match="listed twice"):
        load(path)
    (tmp_path / "species.json").write_bytes(b"\xff\xfe\x00")
    path.write_text('{"camp-files": ["species.json"]}')
    with pytest.raises(MechanismError, match=r"config.json, line 1: .* cannot be read as text"):
        load(path)
    many = {"type": "ARRHENIUS", "reactants": {"A": {"qty": 9}, "B": {"qty": 9}}, "products": {}}
    with pytest.raises(MechanismError, match=r"line \d+: 18 molecules react"):
        load(old(tmp_path, OLD_SPECIES, [many]))
