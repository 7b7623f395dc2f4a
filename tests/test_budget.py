"""Budgets, lifetimes, graphs and comparisons, against loops over equations and by hand."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import CHAIN, CONDITIONS, EXCHANGE, Reference, examples, initial

import jaxchem
from jaxchem import budget
from jaxchem.dataset import label_budget
from jaxchem.network import Network, Reaction, Units
from jaxchem.parse import table

AIR = """name = air
units = molecule cm-3, s
balanced = N
fixed = O2
[species]
NO
NO2
O3
O2
HNO3
N2O5
[pools]
ODD = O3 + NO2
[families]
NOx = NO + NO2
NOy = NO + NO2 + HNO3 + 2 N2O5
thirds = 0.1 NO + 0.2 NO2 + 0.3 O3
[sources]
S = Nobody (1900)
[reactions]
NO + O3 -> NO2 + O2 ; 2 ; S
NO2 + O2 -> NO + O3 ; 3 ; S
2 NO2 -> N2O5 ; 5 ; S
N2O5 -> 2 NO2 ; 7 ; S
NO2 -> HNO3 ; 11 * ODD ; S
NO2 + O3 -> 2 NO2 ; 13 ; S
-> NO ; 17 ; S
NO + NO2 -> O3 ; 19 ; S
"""
STATE = {"NO": 2.0, "NO2": 3.0, "O3": 5.0, "O2": 0.5, "HNO3": 4.0, "N2O5": 6.0}
FLUX = [2 * 2 * 5, 3 * 3 * 0.5, 5 * 9, 7 * 6, 11 * 3 * 8, 13 * 3 * 5, 17, 19 * 2 * 3]


def air():
    network = table.loads(AIR)
    return network, network.rates(), network.y0(STATE)


def gains(reference: Reference, k, y, name) -> list[float]:
    """The net change of a species by each reaction, one term at a time."""
    found = []
    for line, rate in zip(reference.lines, reference.flux(k, y), strict=True):
        change = sum(count for count, other in line.products if other == name)
        change -= sum(count for count, other in line.reactants if other == name)
        found.append(change * rate)
    return found


@settings(max_examples=8)
@given(examples(laws=False), st.integers(0, 10**6))
def test_budgets_of_random_networks_add_up_to_the_tendency(example, seed):
    network, reference = table.loads(example.text), example.reference
    rng = np.random.default_rng(seed)
    k, y = reference.k(), rng.uniform(0.1, 2.0, len(network.species))
    tendency, lasting = reference.tendency(k, y), np.asarray(budget.lifetimes(network, k, y))
    for i, name in enumerate(network.species):
        expected = gains(reference, k, y, name)
        found = budget.contributions(network, k, y, name)
        for parts, sign in ((found.producing, 1), (found.consuming, -1)):
            want = {j: gain for j, gain in enumerate(expected) if sign * gain > 0}
            assert {c.reaction: c.rate for c in parts} == pytest.approx(want, rel=1e-12)
            sizes = [abs(c.rate) for c in parts]
            assert sizes == sorted(sizes, reverse=True)
            assert [c.equation for c in parts] == [network.equations[c.reaction] for c in parts]
            shares = [c.rate / sum(want.values()) for c in parts]
            assert [c.share for c in parts] == pytest.approx(shares, rel=1e-12)
        loss = -sum(g for g in expected if g < 0)
        assert found.loss == pytest.approx(loss, rel=1e-12)
        assert found.production == pytest.approx(sum(g for g in expected if g > 0), rel=1e-12)
        scale = found.production + loss
        assert found.production - found.loss == pytest.approx(tendency[i], abs=1e-12 * scale)
        assert lasting[i] == pytest.approx(y[i] / loss if loss else math.inf, rel=1e-12)


def test_net_changes_by_hand():
    """A reaction that consumes one NO2 and makes two counts once, as production."""
    network, k, y = air()
    found = budget.contributions(network, k, y, "NO2")
    assert [(c.reaction, c.rate) for c in found.producing] == [
        (5, FLUX[5]),
        (3, 2 * FLUX[3]),
        (0, FLUX[0]),
    ]
    assert [(c.reaction, c.rate) for c in found.consuming] == [
        (4, -FLUX[4]),
        (7, -FLUX[7]),
        (2, -2 * FLUX[2]),
        (1, -FLUX[1]),
    ]
    assert found.concentration == 3.0
    assert found.units == ("molecule cm-3", "molecule cm-3 s-1", "s")


def test_conversions_within_a_family_cancel():
    network, k, y = air()
    nox = budget.contributions(network, k, y, "NOx")
    assert nox.concentration == 5.0
    assert {c.reaction: c.rate for c in nox.producing} == {
        3: 2 * FLUX[3],
        5: FLUX[5],
        6: FLUX[6],
    }
    assert {c.reaction: c.rate for c in nox.consuming} == {
        2: -2 * FLUX[2],
        4: -FLUX[4],
        7: -2 * FLUX[7],
    }
    noy = budget.contributions(network, k, y, "NOy")
    assert noy.concentration == 2 + 3 + 4 + 12
    assert {c.reaction: c.rate for c in noy.producing} == {5: FLUX[5], 6: FLUX[6]}
    assert {c.reaction: c.rate for c in noy.consuming} == {7: -2 * FLUX[7]}
    odd = budget.contributions(network, k, y, "ODD")  # a pool
    assert odd.concentration == 8.0
    assert {c.reaction for c in odd.producing} == {3}  # O3 becomes NO2 and back: neither counts
    assert {c.reaction for c in odd.consuming} == {2, 4}


def test_what_cancels_to_rounding_is_no_contribution():
    """0.1 NO + 0.2 NO2 -> 0.3 O3 leaves a weight of 5e-17 in floating point."""
    network, k, y = air()
    found = budget.contributions(network, k, y, "thirds")
    assert 7 not in {c.reaction for c in (*found.producing, *found.consuming)}


def test_nothing_changes_a_fixed_species():
    network, k, y = air()
    found = budget.contributions(network, k, y, "O2")
    assert found[2:6] == (0.0, 0.0, (), ())
    assert budget.lifetimes(network, k, y)[3] == math.inf
    assert str(found).splitlines()[0] == "O2: 0.5 molecule cm-3, lifetime inf s"


def test_a_budget_is_a_readable_table():
    network, k, y = air()
    assert str(budget.contributions(network, k, y, "NOx")).splitlines() == [
        f"NOx: 5 molecule cm-3, lifetime {5 / 582:.4g} s",
        "production 296 molecule cm-3 s-1",
        "   +1.9500e+02   65.9 %  [5] NO2 + O3 -> 2 NO2",
        "   +8.4000e+01   28.4 %  [3] N2O5 -> 2 NO2",
        "   +1.7000e+01    5.7 %  [6] -> NO",
        "loss 582 molecule cm-3 s-1",
        "   -2.6400e+02   45.4 %  [4] NO2 -> HNO3",
        "   -2.2800e+02   39.2 %  [7] NO + NO2 -> O3",
        "   -9.0000e+01   15.5 %  [2] 2 NO2 -> N2O5",
        "net -286 molecule cm-3 s-1",
    ]
    short = budget.contributions(network, k, y, "NOx").table(limit=1)
    assert "   +1.0100e+02   34.1 %  2 more" in short
    assert "N2O5" not in short


def test_negative_concentrations_keep_reactions_on_their_side():
    """A reaction that destroys a species stays a loss, of negative size, and the sum holds."""
    network = table.loads(CHAIN)
    y = jnp.array([-1.0, 0.5, 2.0, 0.0])
    found = budget.contributions(network, network.rates(), y, "B")
    assert (found.production, found.loss) == (-1.0 + 2 * 2.0, 10 * 0.5)
    assert [c.share for c in found.producing] == pytest.approx([4 / 3, -1 / 3])
    assert budget.contributions(network, network.rates(), y, "A").loss == -1.0


def test_abstract_units_are_left_out():
    network = table.loads(CHAIN)
    found = budget.contributions(network, network.rates(), network.y0({"A": 1.0}), "A")
    assert found.units == ("1", "s-1", "s")


def test_lifetimes_of_absent_and_negative_concentrations():
    network = table.loads(CHAIN)
    y = jnp.array([0.0, -1e-30, 2.0, 3.0])
    np.testing.assert_allclose(
        budget.lifetimes(network, network.rates(), y), [np.inf, 0.1, 1 / 2.1, np.inf], rtol=1e-14
    )
    slope = jax.grad(lambda y: budget.lifetimes(network, network.rates(), y)[2])(y)
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("name", ["pollu", "osu29"])
def test_over_time_is_the_budget_of_each_state(name):
    network, reference = jaxchem.load(name), Reference.read(name)
    k = np.asarray(network.rates(**CONDITIONS[name]))
    start = np.array(list(initial(name).values()))
    rng = np.random.default_rng(3)
    ts = np.linspace(0.0, 1.0, 4)
    ys = start.max() * rng.uniform(0.0, 1.0, (4, len(start)))
    species = network.species[2]
    found = budget.over_time(network, k, (ts, ys), species)
    assert found.production.shape == (4, len(found.produced_by))
    for t, y in enumerate(ys):
        expected = np.array(gains(reference, k, y, species))
        made, lost = np.flatnonzero(expected > 0), np.flatnonzero(expected < 0)
        assert (found.produced_by, found.lost_by) == (tuple(made), tuple(lost))
        np.testing.assert_allclose(found.production[t], expected[made], rtol=1e-13)
        np.testing.assert_allclose(found.loss[t], -expected[lost], rtol=1e-13)


def test_over_time_of_a_solution_under_rates_that_vary():
    network = table.loads(EXCHANGE)
    k = network.rates(temperature=lambda t: 300.0 + 10.0 * t)
    solution = jaxchem.solve(network, k(0.0), network.y0({"A": 1.0}), [0.5, 1.0])
    found = budget.over_time(network, k, solution, "A")
    assert (found.produced_by, found.lost_by) == ((1,), (0,))
    for row, (t, (a, b)) in enumerate(zip(solution.ts, np.asarray(solution.ys), strict=True)):
        kelvin = 300.0 + 10.0 * float(t)
        assert float(found.loss[row, 0]) == pytest.approx(1e3 * math.exp(-2000 / kelvin) * a)
        made = 2 * 1e6 * math.exp(-4000 / kelvin) * b * b
        assert float(found.production[row, 0]) == pytest.approx(made)


def test_over_time_under_jit_vmap_and_grad():
    network, k, y = air()
    ts = jnp.array([0.0, 1.0, 2.0])
    batch = jnp.stack([jnp.stack([y * (1 + i + j) for j in range(3)]) for i in range(2)])
    run = jax.jit(jax.vmap(lambda ys: budget.over_time(network, k, (ts, ys), "NOx")))
    found = run(batch)
    assert found.units == "molecule cm-3 s-1" and found.ts.shape == (2, 3)
    one = budget.over_time(network, k, (ts, batch[1]), "NOx")
    np.testing.assert_allclose(found.production[1], one.production, rtol=1e-14)
    np.testing.assert_allclose(found.loss[1], one.loss, rtol=1e-14)
    slope = jax.grad(lambda k: budget.over_time(network, k, (ts, batch[0]), "NOx").loss.sum())(k)
    assert slope[4] == pytest.approx(sum(FLUX[4] * s**2 for s in (1, 2, 3)) / 11)
    assert slope[0] == 0


def test_a_budget_as_a_dataset(tmp_path):
    network, k, y = air()
    ys = jnp.stack([y, 2 * y])
    course = budget.over_time(network, k, (jnp.array([0.0, 9.0]), ys), "NOx")
    data = label_budget(network, course)
    assert data["contribution"].dims == ("time", "reaction")
    assert data["contribution"].attrs["units"] == "molecule cm-3 s-1"
    assert data["time"].attrs["units"] == "s"
    assert data.attrs["species"] == "NOx" and data.attrs["network"] == "air"
    assert list(data["reaction"].values) == [network.equations[j] for j in data["index"].values]
    net = data["contribution"].sum("reaction").values
    assert net[0] == pytest.approx(296 - 582)
    jaxchem.write(data, tmp_path / "budget.nc")


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda n, k, y: budget.contributions(n, k, y, "NOxx"), "species 'NOxx'.*mean 'NOx'"),
        (lambda n, k, y: budget.contributions(n, k, y[:-1], "NO"), r"states of \(6,\)"),
        (lambda n, k, y: budget.contributions(n, k[1:], y, "NO"), r"k of shape \(8,\)"),
        (lambda n, k, y: budget.contributions(n, k, jnp.stack([y, y]), "NO"), "jax.vmap"),
        (lambda n, k, y: budget.contributions(n, lambda t, y: k, y, "NO"), r"give k\(t, y\)"),
        (lambda n, k, y: budget.over_time(n, k, (jnp.zeros(1), y[None, 1:]), "NO"), r"\(6,\)"),
        (lambda n, k, y: budget.lifetimes(n, k, y[:-1]), r"states of \(6,\)"),
        (lambda n, k, y: budget.over_time(n, k, (jnp.zeros(2), y), "NO"), "one trajectory"),
        (lambda n, k, y: budget.over_time(n, k, (jnp.zeros(2), y[None]), "NO"), "one trajectory"),
        (lambda n, k, y: budget.edges(n, k), "both k and y"),
        (lambda n, k, y: budget.graph(n, k, y[1:]), r"states of \(6,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(*air())


# Graphs


def test_edges_lead_from_reactants_to_products():
    network, k, y = air()
    found = budget.edges(network)
    assert {(a, b, j) for a, b, j, _ in found} == {
        *[("NO", "NO2", 0), ("O3", "NO2", 0), ("NO", "O2", 0), ("O3", "O2", 0)],
        *[("NO2", "NO", 1), ("O2", "NO", 1), ("NO2", "O3", 1), ("O2", "O3", 1)],
        *[("NO2", "N2O5", 2), ("N2O5", "NO2", 3), ("NO2", "HNO3", 4)],
        *[("O3", "NO2", 5), ("NO", "O3", 7), ("NO2", "O3", 7)],
    }
    assert len(found) == 14
    assert found[0][3] == {"equation": "NO + O3 -> NO2 + O2"}
    assert all(about["flux"] == FLUX[j] for _, _, j, about in budget.edges(network, k, y))


def test_graph_has_each_term_of_each_equation():
    network, k, y = air()
    lines = budget.graph(network, k, y).splitlines()
    assert lines[0] == 'digraph "air" {' and lines[-1] == "}"
    assert '  "O2" [shape=ellipse, style=filled];' in lines
    assert '  "reaction 6" [shape=box, label="6", tooltip="-> NO"];' in lines
    pattern = re.compile(r'  "(.+)" -> "(.+)" \[flux="(.+)", penwidth=(.+)\];')
    links = [match.groups() for match in map(pattern.fullmatch, lines) if match]
    flows = {(a, b): float(flow) for a, b, flow, _ in links}
    assert len(links) == 11 + 10  # reactants and products, each named once
    assert flows["NO2", "reaction 2"] == 2 * FLUX[2]
    assert flows["reaction 5", "NO2"] == 2 * FLUX[5]
    assert flows["reaction 6", "NO"] == FLUX[6]
    widths = {(a, b): float(width) for a, b, _, width in links}
    assert widths["reaction 5", "NO2"] == 4.2 == max(widths.values())
    assert widths["reaction 1", "NO"] == pytest.approx(
        0.2 + 4 * (1 + math.log10(4.5 / 390) / 6), abs=0.006
    )
    plain = budget.graph(network)
    assert "flux" not in plain and plain.count("->") == 21 + 8  # the tooltips too


def test_names_are_escaped_in_graphs():
    network = Network.build(
        name='a "small\\',
        species={'X"': None, "Y\\": None},
        reactions=[Reaction({'X"': 1}, {"Y\\": 1.0}, 1.0, "nobody")],
        units=Units("1", "s"),
    )
    assert budget.graph(network).splitlines() == [
        r'digraph "a \"small\\" {',
        r'  "X\"" [shape=ellipse];',
        r'  "Y\\" [shape=ellipse];',
        r'  "reaction 0" [shape=box, label="0", tooltip="X\" -> Y\\"];',
        r'  "X\"" -> "reaction 0";',
        r'  "reaction 0" -> "Y\\";',
        "}",
    ]
    still = budget.graph(network, jnp.ones(1), jnp.zeros(2))
    assert still.count('flux="0.000000e+00", penwidth=0.20') == 2


# Comparisons

ONE = """name = one
units = molecule cm-3, s
[species]
A = ?
B = ?
D = ?
[pools]
P = A + D
[sources]
S = Nobody (1900)
[reactions]
A + B -> 2 D ; 1e-12 ; S
A -> B ; arrhenius(5, 300) ; S
2 B -> D ; 3e-12 ; S
B -> D ; 1 ; S
B -> D ; 2 ; S
A -> D ; 4e-12 * P ; S
D -> ; 6 ; S
"""


def altered(*changes, text=ONE):
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return table.loads(text.replace("name = one", "name = other"))


def test_a_network_does_not_differ_from_itself_written_otherwise():
    other = altered(
        ("A + B -> 2 D", "B + A -> D + D"),
        ("B -> D ; 1 ; S\nB -> D ; 2 ; S", "B -> 0.3 D + 0.7 D ; 3 ; S"),
        ("2 B -> D", "B + B -> D"),
    )
    found = budget.compare(table.loads(ONE), other, {"temperature": 290.0})
    assert found.species == ((), ()) and found.reactions == ((), ()) and found.rates == ()
    assert str(found) == "one and other do not differ."


def test_what_only_one_network_has():
    other = altered(
        ("D = ?", "D = ?\nE = ?"),
        ("D -> ; 6", "D -> E ; 6"),
        ("4e-12 * P", "4e-12"),
        ("2 B -> D", "2 B -> 1.5 D"),
    )
    found = budget.compare(table.loads(ONE), other)
    assert found.species == ((), ("E",))
    assert found.rates is None
    one, others = found.reactions
    assert one == ((2, "2 B -> D"), (5, "A -> D (times P)"), (6, "D ->"))
    assert others == ((2, "2 B -> 1.5 D"), (5, "A -> D"), (6, "D -> E"))
    assert str(found).splitlines() == [
        "species only in other (1)",
        "  E",
        "reactions only in one (3)",
        "  [2] 2 B -> D",
        "  [5] A -> D (times P)",
        "  [6] D ->",
        "reactions only in other (3)",
        "  [2] 2 B -> 1.5 D",
        "  [5] A -> D",
        "  [6] D -> E",
    ]
    assert found.table(limit=1).splitlines()[-1] == "  and 2 more"


def test_weights_that_differ():
    """Of species that count in both: what only one network counts makes no difference."""
    one = table.loads(ONE)
    assert budget.compare(one, altered(("P = A + D", "P = A + D + 2 B"))).pools == ()
    found = budget.compare(one, altered(("P = A + D", "P = A + 2.5 D")))
    assert found.pools == ("P",)
    assert str(found).splitlines() == ["pools whose weights differ (1)", "  P"]


def test_coefficients_that_differ():
    other = altered(("3e-12", "6e-12"), ("B -> D ; 2 ;", "B -> D ; 2.001 ;"))
    one = table.loads(ONE)
    found = budget.compare(one, other, {"temperature": 290.0})
    assert [(d.equation, d.reactions, d.others) for d in found.rates] == [
        ("2 B -> D", (2,), (2,)),
        ("B -> D", (3, 4), (3, 4)),
    ]
    assert [d.relative for d in found.rates] == pytest.approx([0.5, 0.001 / 3.001])
    assert "  3.0000e-12 6.0000e-12  2 B -> D" in str(found).splitlines()
    assert len(budget.compare(one, other, {"temperature": 290.0}, tolerance=1e-3).rates) == 1
    (warm,) = budget.compare(one, one, {"temperature": 290.0}, {"temperature": 300.0}).rates
    assert (warm.k, warm.other_k) == pytest.approx(
        (5 * math.exp(-300 / 290), 5 * math.exp(-300 / 300))
    )
    zero = budget.compare(
        altered(("; 6 ;", "; 0 ;")), altered(("; 6 ;", "; 0 ;")), {"temperature": 9}
    )
    assert zero.rates == () and "other (first)" in str(zero)


def test_coefficients_are_converted():
    """One molecule more on the left is one concentration less in the coefficient."""
    avogadro = 6.02214076e17  # molecule cm-3 in a mol m-3
    other = altered(
        ("molecule cm-3", "mol m-3"),
        ("1e-12", repr(1e-12 * avogadro)),
        ("3e-12", repr(3e-12 * avogadro)),
        ("4e-12", repr(4e-12 * avogadro)),
    )
    one = table.loads(ONE)
    assert budget.compare(one, other, {"temperature": 290.0}).rates == ()
    assert budget.compare(other, one, {"temperature": 290.0}).rates == ()


@pytest.mark.parametrize("units", ["ppm, s", "molecule cm-3, min"])
def test_units_that_cannot_be_compared(units):
    one, other = table.loads(ONE), altered(("molecule cm-3, s", units))
    assert budget.compare(one, other).reactions == ((), ())
    with pytest.raises(ValueError, match=r"'one' are in molecule cm-3, s and those of 'other'"):
        budget.compare(one, other, {"temperature": 290.0})


def test_conditions_of_a_comparison_are_constant():
    one = table.loads(ONE)
    with pytest.raises(ValueError, match="at one time"):
        budget.compare(one, one, {"temperature": lambda t: t})
    with pytest.raises(ValueError, match="needs temperature"):
        budget.compare(one, one, {})
