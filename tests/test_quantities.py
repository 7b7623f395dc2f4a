"""What a mechanism names and proposes: quantities, fixed species, conditions, initial states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_table import assert_same

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import table

TEXT = """name = small
units = molecule cm-3, s
balanced = none
fixed = O2
[species]
O = O
O2 = O2
O3 = O3
X = ?
[pools]
RO2 = X + O3
[quantities]
KA = 2.0 * KB
KB = arrhenius(3e-12, 200)
"PHOTO.jO3" = ?
J4 = 1e-3
[defaults]
temperature = 250.0
start = 43200.0
[initial]
O2 = 5e18
X = 0.25
[families]
Ox = O + O3
odd = 2 X + 0.5 O3
[sources]
S1 = Nobody (1900)
[reactions]
O + O2 -> O3 ; KA * 1e-20 * density ; S1
O3 -> O + O2 ; "PHOTO.jO3" ; S1
X -> ; RO2 * KB * 0.5 ; S1
X -> -0.5 O + 0.25 O3 ; J4 / 2 ; S1
"""


@pytest.fixture(scope="module")
def network():
    return table.loads(TEXT)


def test_rates(network):
    kb = 3e-12 * np.exp(-200 / 250.0)
    k = network.rates(density=2e19, photolysis={"PHOTO.jO3": 4e-4})
    np.testing.assert_allclose(k, [2 * kb * 0.2, 4e-4, kb * 0.5, 5e-4], rtol=1e-14)
    k = network.rates(density=1.0, temperature=300.0, quantities={"KB": 7.0, "*": 2.0})
    np.testing.assert_allclose(k, [14e-20, 2.0, 3.5, 5e-4], rtol=1e-14)
    assert network.needs == ("temperature", "density", "PHOTO.jO3")
    assert network.user_quantities == ("PHOTO.jO3",)
    assert any("user rate" in p and "PHOTO.jO3" in p for p in network.check())


def test_quantities_may_vary_in_time(network):
    k = network.rates(density=1.0, photolysis={"PHOTO.jO3": lambda t: 2 * t}, quantities={"KB": 1})
    np.testing.assert_array_equal(k(3.0), [2e-20, 6.0, 0.5, 5e-4])
    np.testing.assert_array_equal(jax.jit(jax.vmap(k))(jnp.array([1.0, 2.0]))[:, 1], [2.0, 4.0])


def test_density_and_pressure_give_one_another(network):
    """p = n k_B T (exact constants of the SI)."""
    k = network.rates(pressure=1e5, quantities={"KB": 1.0, "*": 0.0})
    assert float(k[0]) == pytest.approx(2e-20 * 1e5 / (1.380649e-23 * 250.0) * 1e-6, rel=1e-13)


def test_missing_and_misspelt(network):
    with pytest.raises(ValueError, match=r'density.*PHOTO\.jO3.*"\*": 0\.0'):
        network.rates()
    with pytest.raises(ValueError, match=r"no quantity 'PHOTO\.jO2'; did you mean 'PHOTO\.jO3'"):
        network.rates(density=1.0, quantities={"PHOTO.jO2": 1.0})


def test_fixed_species_react_and_stay(network):
    assert network.fixed == ("O2",)
    assert not network.stoichiometry[network.index("O2")].any()
    y0 = network.y0(dict(network.initial) | {"O": 1e8})
    k = network.rates(density=2e19, quantities={"*": 1e-3})
    ys = jaxchem.solve(network, k, y0, jnp.array([1e3, 1e4]), rtol=1e-8).ys
    np.testing.assert_array_equal(ys[:, network.index("O2")], 5e18)
    assert float(ys[-1, network.index("O3")]) > 0


def test_balance_counts_fixed_species_as_any_other():
    text = TEXT.replace("balanced = none", "balanced = O")
    assert list(table.loads(text).unbalanced()) == []  # X has no composition
    wrong = text.replace("O + O2 -> O3", "O + O2 -> 2 O3")
    assert list(table.loads(wrong).unbalanced()) == [0]


def test_round_trip(network):
    again = table.loads(table.dumps(network))
    assert_same(again, network)
    for field in ("fixed", "quantities", "defaults", "initial", "families"):
        assert getattr(again, field) == getattr(network, field), field
    assert table.dumps(again) == table.dumps(network)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("KA = 2.0 * KB", "KA 2.0", r"line 13: .*QUANTITY = EXPRESSION"),
        ("KA = 2.0 * KB", "2 = KB", "line 13: '2' is no name"),
        ("KA = 2.0 * KB", "KB = 1", "line 14: quantity 'KB' is declared twice"),
        (
            "KA = 2.0 * KB",
            "KA = 2.0 * KBB",
            r"quantity 'KA' \(.*line 13\).*'KBB'.*did you mean 'KB'",
        ),
        (
            "KB = arrhenius(3e-12, 200)",
            "KB = KA + 1",
            "line 13.*KA -> KB -> KA are defined in a circle",
        ),
        ("KB = arrhenius(3e-12, 200)", "KB = arrhenius(3e-12)", r"takes \(amplitude, theta\)"),
        ("J4 = 1e-3", "RO2 = 1e-3", r"pool 'RO2' \(.*line 11\) has the name"),
        ("fixed = O2", "fixed = N2", r"'N2' in the fixed species \(.*line 4\)"),
        ("X = 0.25", "Y = 0.25", r"'Y' in the initial state \(.*line 22\)"),
        ("X = 0.25", "X = lots", "line 22: 'lots' is no number"),
        ("X = 0.25", "O2 = 1", "line 22: initial 'O2' is declared twice"),
        ("Ox = O + O3", "Ox = O + Q", r"'Q' in family 'Ox' \(.*line 24\)"),
        ("Ox = O + O3", "Ox", "line 24: .*FAMILY = SPECIES"),
    ],
)
def test_refuses(old, new, words):
    with pytest.raises(MechanismError, match=words):
        table.loads(TEXT.replace(old, new))


def test_photolysis_by_the_names_of_its_makers():
    """Numbers and symbols of the MCM, MUSICA without its prefix; what no one knows is refused."""
    network = table.loads(TEXT)
    given = {"density": 1.0, "quantities": {"KB": 1.0}}
    for name in ("J4", "J_NO2", 4, "4"):
        k = network.rates(**given, photolysis={name: 0.5, "jO3": 2.0, "J_NOA": 7.0})
        np.testing.assert_array_equal(k[1:], [2.0, 0.5, 0.25])
    with pytest.raises(ValueError, match="no quantity 'J_NO3'"):
        network.rates(**given, photolysis={"J_NO3": 0.5})


@pytest.mark.parametrize(
    "conditions, words",
    [
        ({"temperature": -5.0}, "temperature is -5; it is in K"),
        ({"solar_zenith_angle": 45.0}, "solar_zenith_angle is 45; it is in rad"),
        ({"relative_humidity": 50.0}, "relative_humidity is 50"),
        ({"gas_to_dust": 100}, "gas_to_dust is 100; it is in 1, by number"),
        ({"temperature": jnp.array([200.0, 300.0])}, r"temperature has shape \(2,\).*jax\.vmap"),
    ],
)
def test_conditions_that_cannot_be_meant(network, conditions, words):
    with pytest.raises(ValueError, match=words):
        network.rates(density=1.0, quantities={"*": 0.0}, **conditions)


def test_numbers_that_32_bits_do_not_have():
    text = TEXT.replace("KA * 1e-20", "1e-40")
    with (
        jax.enable_x64(False),
        pytest.warns(UserWarning, match=r"'O \+ O2 -> O3'.*zero in 32 bits"),
    ):
        table.loads(text).rates(density=1.0, quantities={"*": 0.0})
