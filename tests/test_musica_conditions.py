"""MUSICA's files of conditions: what they say, and what they are to the mechanisms beside them."""

import jax
import numpy as np
import pytest
from musica_cases import NUMBER, RADIUS, shared_network
from problems import shared

from jaxchem.network import MechanismError, Network
from jaxchem.parse import musica


def test_conditions(tmp_path):
    path = tmp_path / "conditions.csv"
    path.write_text(
        "CONC.A,1.5e-3\r\nENV.temperature,272.5\n\nENV.pressure,101253.3\nENV.air_density,4e1\n"
        "ENV.time_step,200.0\nPHOTO.j x,0.04\nUSER.a.b,3\n"
        f"SURF.j x,1e-7,2.5e10\nSURF.other.{RADIUS},2e-7\nEMIS.A,1e-9\nLOSS.A, 2"
    )
    initial, conditions = musica.initial_conditions(path)
    assert initial == {"A": 1.5e-3}
    assert conditions == {
        "temperature": 272.5,
        "pressure": 101253.3,
        "density": 40.0,
        "quantities": {
            "PHOTO.j x": 0.04,
            "USER.a.b": 3.0,
            f"SURF.j x.{RADIUS}": 1e-7,
            f"SURF.j x.{NUMBER}": 2.5e10,
            f"SURF.other.{RADIUS}": 2e-7,
            "EMIS.A": 1e-9,
            "LOSS.A": 2.0,
        },
    }


@pytest.mark.parametrize(
    "line",
    [
        *("CONC.A", "CONC,1", "CONC.A,x", "CONC.A,nan", "ENV.humidity,1", "AIR.A,1", "PHOTO.A,1,2"),
        *("CONC.B,2", "CONC.A,1,", "SURF.A,1,2,3"),
    ],
)
def test_conditions_errors(tmp_path, line):
    path = tmp_path / "conditions.csv"
    path.write_text(f"CONC.B,1\n{line}\n")
    with pytest.raises(MechanismError, match=r"conditions.csv, line 2: "):
        musica.initial_conditions(path)
    with pytest.raises(MechanismError, match="cannot be read as text"):
        musica.initial_conditions(tmp_path / "none.csv")


# Beside the files of MUSICA


def compiled_rates(network: Network, conditions: dict) -> jax.Array:
    """With hundreds of quantities, faster than one operation at a time."""
    return jax.jit(lambda given: network.rates(**given))(conditions)


def test_conditions_of_ts1():
    network = shared_network("v1/ts1/ts1.json")
    path = shared("data", "mechanisms", "musica", "v1", "ts1", "initial_conditions.csv")
    initial, conditions = musica.initial_conditions(path)
    missing = set(network.user_quantities) - set(conditions["quantities"])
    assert missing == {"USER.usr_CO_OH", "USER.usr_DMS_OH"}  # the file leaves them out
    conditions["quantities"]["*"] = 0.0
    k = np.asarray(compiled_rates(network, conditions))
    assert np.isfinite(k).all() and (k >= 0).all()
    assert float(network.y0(initial)[network.index("O3")]) == 2.49e-6


def test_conditions_of_version_0():
    """The names in chapman's file are not those of its mechanism: the user says which is which."""
    folder = ("data", "mechanisms", "musica", "v0")
    network = shared_network("v0/chapman/config.json")
    initial, conditions = musica.initial_conditions(
        shared(*folder, "chapman", "initial_conditions.csv")
    )
    with pytest.raises(ValueError, match=r"no quantity 'PHOTO\.R1'"):
        network.rates(**conditions)
    names = {"PHOTO.R1": "PHOTO.jO2", "PHOTO.R3": "PHOTO.jO3->O", "PHOTO.R5": "PHOTO.jO3->O1D"}
    conditions["quantities"] = {names[n]: v for n, v in conditions["quantities"].items()}
    k = network.rates(**conditions)
    # molecule cm-3: 8.018e-17, 7.11e-11 with M
    cm3 = 6.02214076e17
    np.testing.assert_allclose(k[1], 8.018e-17 * cm3, rtol=1e-14)
    np.testing.assert_allclose(k[5], 7.11e-11 * cm3 * 3.580772136, rtol=1e-14)
    assert float(network.y0(initial)[network.index("O2")]) == 0.75
    missing = {"robertson": set(), "carbon_bond_5": {"O2", "CL2", "N2O5", "PAN", "PANX"}}
    for name, left_out in missing.items():
        network = shared_network(f"v0/{name}/config.json")
        _, conditions = musica.initial_conditions(shared(*folder, name, "initial_conditions.csv"))
        unnamed = set(network.user_quantities) - set(conditions["quantities"])
        assert unnamed == {f"PHOTO.{n}" for n in left_out}
        conditions["quantities"]["*"] = 0.0
        assert np.isfinite(compiled_rates(network, conditions)).all()
