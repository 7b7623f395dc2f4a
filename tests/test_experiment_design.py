"""Readings that say most: times of the textbooks, and determinants that are written out."""

import itertools

import matplotlib
import numpy as np
import pytest
import scipy
from matplotlib import pyplot
from test_inference import CHAIN, chain
from test_inference import network as network

import jaxchem
from jaxchem import plot
from jaxchem.dataset import label_readings
from jaxchem.inference import candidates, design, problem
from jaxchem.inference.plan import plan

matplotlib.use("Agg")

BOX_LUCAS = CHAIN.replace("A -> B ; 0.1", "A -> B ; 0.7").replace("B -> C ; 0.1", "B -> C ; 0.2")
FINE = np.arange(0, 1201) / 100


def chosen(found):
    """Time, observable and number of what is to be read."""
    rows = [row for row in found.rows if row["readings"]]
    return sorted((row["time"], row["observable"], row["readings"]) for row in rows)


def slopes(ts, k1=0.1, k2=0.3, a=10.0):
    """[T, O, 2] derivatives of the formula by ln k1 and ln k2."""
    step = 1e-6
    ends = [
        [chain(ts, k1 * np.exp(s * (i == 0)), k2 * np.exp(s * (i == 1)), a) for s in (-step, step)]
        for i in range(2)
    ]
    return np.stack([(high - low) / (2 * step) for low, high in ends], axis=-1)


def bits(information, before):
    return (np.linalg.slogdet(information)[1] - np.linalg.slogdet(before)[1]) / np.log(4)


def test_one_coefficient_is_read_at_its_lifetime(network):
    """Of the slope t exp(-k t) the largest is at 1/k; in logarithms the latest says most."""
    asked = problem(
        network(BOX_LUCAS),
        candidates(network(BOX_LUCAS), times=FINE, observables=["A"]),
        rates={"k": "R1"},
    )
    found = design(asked, 1, noise={"sd": 1e-3})
    assert chosen(found) == [(1.43, "A", 1)]
    assert found.after[0] == pytest.approx(1e-3 / (10 * np.exp(-1)), rel=1e-4)
    assert chosen(design(asked, 2, noise={"sd": 1e-3})) == [(1.43, "A", 2)]
    later = design(asked, 1, noise={"kind": "log", "sd": 0.1})
    assert chosen(later) == [(12.0, "A", 1)]
    assert later.after[0] == pytest.approx(0.1 / (0.7 * 12.0), rel=1e-3)


def test_an_unknown_start_is_read_first(network):
    made = network(BOX_LUCAS)
    data = candidates(made, times=FINE, observables=["A"])
    asked = problem(made, data, rates={"k": "R1"}, initial={"A": {"value": 10.0}})
    found = design(asked, 2, noise={"sd": 1e-3})
    assert chosen(found) == [(0.0, "A", 1), (1.43, "A", 1)]


def test_times_of_box_and_lucas(network):
    """B of A -> B -> C, Box & Lucas 1959, Biometrika 46, 77: 1.23 and 6.86."""
    made = network(BOX_LUCAS)
    asked = problem(made, candidates(made, times=FINE, observables=["B"]))
    found = design(asked, 2, noise={"sd": 1e-3})
    assert chosen(found) == [(1.23, "B", 1), (6.86, "B", 1)]
    # four are replicates of the two, as there are two parameters (Atkinson & Donev 1992, ch. 9)
    assert chosen(design(asked, 4, noise={"sd": 1e-3})) == [(1.23, "B", 2), (6.86, "B", 2)]
    apart = chosen(design(asked, 4, noise={"sd": 1e-3}, repeats=False))
    assert [often for _, _, often in apart] == [1] * 4 and len({t for t, _, _ in apart}) == 4


def test_gains_are_differences_of_log_determinants(network):
    """Of all sets of three candidates the one with the largest determinant, by the formula."""
    ts = np.array([1.0, 4.0, 9.0, 20.0])
    made = network(CHAIN.replace("B -> C ; 0.1", "B -> C ; 0.3"))
    rates = {"k1": {"of": "R1", "factor": 1.5}, "k2": {"of": "R2", "factor": 4.0}}
    sd = np.array([0.5, 0.1, 0.3])
    asked = problem(made, candidates(made, times=ts), rates=rates)
    found = design(asked, 3, noise={"sd": dict(zip("ABC", sd, strict=True))}, draws=1)
    rows = (slopes(ts) / sd[:, None]).reshape(12, 2)
    before = np.diag(np.log([1.5, 4.0]) ** -2.0)
    each = rows[:, :, None] * rows[:, None, :]
    np.testing.assert_allclose(found.alone, [bits(before + m, before) for m in each], rtol=1e-4)
    sets = [*itertools.combinations_with_replacement(range(12), 3)]
    best = max(sets, key=lambda of: bits(before + each[[*of]].sum(0), before))
    np.testing.assert_array_equal(found.chosen, np.bincount(best, minlength=12))
    after = before + each[[*best]].sum(0)
    assert found.gain == pytest.approx(bits(after, before), rel=1e-4)
    np.testing.assert_allclose(found.further, [bits(after + m, after) for m in each], rtol=1e-3)
    np.testing.assert_allclose(found.before, np.log([1.5, 4.0]))
    np.testing.assert_allclose(found.after, np.sqrt(np.diag(np.linalg.inv(after))), rtol=1e-4)
    first = found.rows[0]
    top = int(np.argmax([bits(before + m, before) for m in each]))
    assert (first["time"], first["observable"]) == (ts[top // 3], "ABC"[top % 3])
    assert first["predicted"] == pytest.approx(chain(ts, 0.1, 0.3).ravel()[top], rel=1e-5)
    assert "to be read:" in repr(found) and "k2: 1.39 ->" in repr(found)


def test_whole_times_are_taken_together(network):
    ts = np.array([1.0, 4.0, 9.0, 20.0, 40.0])
    made = network(CHAIN.replace("B -> C ; 0.1", "B -> C ; 0.3"))
    asked = problem(
        made, candidates(made, times=ts, experiments=[{"A": 10.0, "B": 0.0}, {"A": 2.0, "B": 0.0}])
    )
    found = design(asked, 2, noise={"sd": 0.2}, factor=3.0, together=True, draws=1)
    both = np.concatenate([slopes(ts), slopes(ts, a=2.0)]) / 0.2
    each = np.einsum("toi,toj->tij", both, both)
    before = np.eye(2) / np.log(3.0) ** 2
    sets = [*itertools.combinations_with_replacement(range(10), 2)]
    best = max(sets, key=lambda of: bits(before + each[[*of]].sum(0), before))
    np.testing.assert_array_equal(found.chosen, np.repeat(np.bincount(best, minlength=10), 3))
    gains = np.repeat([bits(before + m, before) for m in each], 3)
    np.testing.assert_allclose(found.alone, gains, rtol=1e-4)
    assert best == (2, 2) and "- 9 s 2 times, A 10: A, B, C\n" in repr(found)
    top = int(np.argmax(gains))
    assert f"- {ts[top // 3]:g} s, A 10: all, {gains[top]:.3g} bits" in repr(found)


def test_a_design_is_good_for_what_may_be(network):
    """With k known within a factor of 5 alone, the mean gain is that of quadrature."""
    made, ts = network(BOX_LUCAS), np.linspace(0.1, 12.0, 24)
    rates = {"k": {"of": "R1", "factor": 5.0}}
    asked = problem(made, candidates(made, times=ts, observables=["A"]), rates=rates)
    found = design(asked, 1, noise={"sd": 0.1}, draws=128)
    x, weight = np.polynomial.hermite_e.hermegauss(60)
    k = 0.7 * np.exp(np.log(5.0) * x)[:, None]
    information = (10 * k * ts * np.exp(-k * ts) / 0.1) ** 2 * np.log(5.0) ** 2
    mean = weight @ np.log2(1 + information) / 2 / weight.sum()
    np.testing.assert_allclose(found.alone, mean, rtol=0.03)
    assert abs(int(np.argmax(found.chosen)) - int(np.argmax(mean))) <= 1
    local = design(asked, 1, noise={"sd": 0.1}, draws=1)
    assert chosen(local)[0][0] > 1.3 * chosen(found)[0][0]  # earlier, as slopes of fast ones end


def test_barriers_are_told_by_the_ends(network):
    """Of Ea/R and k at the middle, readings at both ends of temperature; by the determinant."""
    text = CHAIN.replace("A -> B ; 0.1 ; guess", "A -> B ; arrhenius(1e8, 6000.0) ; guess")
    made, warm = network(text), np.array([280.0, 300.0, 320.0])
    data = candidates(
        made,
        times=np.arange(1, 60),
        observables=["A"],
        experiments=[{"temperature": t} for t in warm],
    )
    asked = problem(made, data, rates={"k": "R1"}, reference={"temperature": 300.0})
    found = design(asked, 2, noise={"sd": 0.1})
    ends = {row["experiment"]: row["time"] for row in found.rows if row["readings"]}
    assert {*ends} == {"temperature 280", "temperature 320"}
    for t in (280.0, 320.0):
        best = np.clip(np.exp(6000.0 / t) / 1e8, 1, 59)  # the lifetime there
        assert ends[f"temperature {t:g}"] == pytest.approx(best, abs=0.5)


def test_heavy_tails_and_relative_deviations(network):
    """The information of Student's distribution by quadrature; relative is that of logarithms."""
    made = network(CHAIN)
    data = candidates(made, times=[2.0, 30.0], observables=["A"])
    asked = problem(made, data, rates={"k": {"of": "R1", "factor": 2.0}})
    found = design(asked, 1, noise={"sd": 0.1, "tail": 3.0}, draws=1)

    def score(z):
        return (4.0 * z / (3.0 + z**2)) ** 2 * scipy.stats.t.pdf(z, 3.0)

    told = scipy.integrate.quad(score, -np.inf, np.inf)[0]
    slope = np.array([0.2, 3.0]) * 10 * np.exp([-0.2, -3.0]) / 0.1
    np.testing.assert_allclose(
        found.alone, np.log2(1 + np.log(2) ** 2 * told * slope**2) / 2, rtol=1e-4
    )
    relative, log = (
        design(asked, 1, noise={"kind": kind, "sd": 0.1}) for kind in ("relative", "log")
    )
    np.testing.assert_allclose(relative.alone, log.alone, rtol=1e-6)


def test_what_starts_at_nothing_has_no_logarithm(network):
    made = network(CHAIN)
    asked = problem(made, candidates(made, times=[0.0, 5.0]))
    found = design(asked, 1, noise={"kind": "log", "sd": 0.1}, factor=2.0)
    assert any("2 readings of nothing" in note for note in found.notes) and len(found.chosen) == 4


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"times": []}, "times: give one or more"),
        ({"times": ["soon"]}, "'soon', which is no number"),
        ({"observables": ["A", "A"]}, "'A' is there twice"),
        ({"experiments": [{"temprature": 300.0}]}, "'temprature' is no species.*'temperature'"),
        ({"experiments": [{"temperature": 300.0}, {}]}, "one has no temperature"),
        ({"experiments": [{"A": 1.0}, {"A": 1.0}]}, "'as given' is there twice"),
        ({"experiments": [{"B": 1.0}, {"B": 1.0}, {"B": 2.0}]}, "'B 1' is there twice"),
        ({"experiments": [3]}, "experiments: 3 is no mapping"),
        ({"experiments": {"A": 1.0}}, "experiments={'A': 1.0}: give a list"),
        ({"observables": "AB"}, "observables='AB': give a list"),
        ({"observables": [1]}, "observables: 1 is no name"),
        ({"experiments": [{1: 2.0}]}, "experiments: {1: 2.0} is no mapping of names"),
        ({"times": 7}, "times=7: give a list"),
        ({"times": [-1.0, 1.0]}, "times: -1 is before the start"),
        ({"experiments": [{"A": -1.0}]}, "A is -1; it is not negative"),
    ],
)
def test_candidates_that_cannot_be(network, setting, words):
    with pytest.raises(ValueError, match=words):
        candidates(network(CHAIN), **{"times": [1.0], **setting})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"readings": 0}, "readings is 0; give a whole number, 1 or more"),
        ({"draws": 1.5}, "draws is 1.5; give a whole number"),
        ({"readings": "two"}, "readings is 'two'; give a whole number"),
        ({"readings": True}, "readings is True"),
        ({"together": "no"}, "together is 'no'; write true or false"),
        ({"repeats": 1}, "repeats is 1; write true or false"),
        ({"noise": "log"}, "as noise: {kind: log}"),
        ({"factor": 1.0}, "factor=1.0"),
        ({"factor": True}, "True, which is no number"),
        ({"factor": "a"}, "factor is 'a', which is no number"),
        ({"noise": {}}, "the deviation of every reading"),
        ({"noise": {"sd": {"A": 0.1}}}, "the deviation of every reading"),
        ({"repeats": False, "readings": 4}, "there are 3 candidates"),
    ],
)
def test_designs_that_cannot_be(network, setting, words):
    asked = problem(network(CHAIN), candidates(network(CHAIN), times=[1.0]))
    with pytest.raises(ValueError, match=words):
        design(asked, **{"readings": 1, "noise": {"sd": 0.1}, **setting})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"observables": "AB"}, "observables='AB': give a list"),
        ({"readings": 2.5}, "readings is 2.5; give a whole number"),
        ({"draws": "many"}, "draws is 'many'; give a whole number"),
        ({"together": "no"}, "together is 'no'; write true or false"),
        ({"sd": True}, "True, which is no number"),
        ({"problem": {"noise": "log"}}, "as noise: {kind: log}"),
        ({"conditions": [1]}, r"conditions is \[1\]"),
    ],
)
def test_plans_that_cannot_be(network, setting, words):
    how = jaxchem.Integrator(method="rodas5p", rtol=1e-6)
    asked = {"times": [1.0, 2.0], "readings": 1, "sd": 0.1, **setting}
    with pytest.raises(ValueError, match=words):
        plan(network(CHAIN), how, **asked)


def test_first_readings_are_not_known_to_a_design(network):
    data = candidates(network(CHAIN), times=[0.0, 1.0])
    asked = problem(network(CHAIN), data, initial={"A": "first"})
    with pytest.raises(ValueError, match="initial: first readings are not known"):
        design(asked, 1, noise={"sd": 0.1})


def test_a_map_of_gains():
    gain = np.array([1.0, 2.0, 3.0, 0.5, 4.0])
    dataset = label_readings(
        time=np.array([0.0, 1.0, 5.0, 0.0, 5.0]),
        time_unit="s",
        parameter=["k"],
        before=[1.0],
        after=[0.1],
        experiment=np.array(["run"] * 5, dtype=object),
        observable=np.array([*"AAABB"], dtype=object),
        gain=gain,
        chosen=np.array([0, 0, 1, 0, 2]),
    )
    figure, ax = pyplot.subplots()
    assert plot.gains(dataset, ax) is ax
    figure.canvas.draw()
    np.testing.assert_array_equal(
        ax.images[0].get_array().filled(np.nan), [[1, 2, 3], [0.5, np.nan, 4]]
    )
    marks = [tuple(map(float, (*line.get_xdata(), *line.get_ydata()))) for line in ax.lines]
    assert marks == [(2.0, 0.0), (2.0, 1.0)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B"]
    plot.gains(dataset, pyplot.subplots()[1], rows=1)
    pyplot.close("all")
