"""Modes of change, beside a chain of decays that is solved by hand."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import QUIET

import jaxchem
from jaxchem.dataset import Observations, draw, observe
from jaxchem.ensemble import generate_ensemble
from jaxchem.models import ChangeMap
from jaxchem.models.chain import LEAST_SPREAD
from jaxchem.stages import emulate

CHAIN = """name = chain
units = molecule cm-3, s
[species]
A = C
B = C
C = C
[sources]
S = a source
[reactions]
A -> B ; 1e-3*temperature/300.0 ; S
B -> C ; 2e-3 ; S
"""
TS = np.linspace(60.0, 3600.0, 60)


def chain(y0, temperature, ts):
    """Bateman's solution."""
    a, b, c = np.moveaxis(np.asarray(y0)[:, :, None], 1, 0)
    k, m = 1e-3 * np.asarray(temperature)[:, None] / 300, 2e-3
    first, second = np.exp(-k * ts), np.exp(-m * ts)
    left = b * second + a * k / (m - k) * (first - second)
    return np.stack([a * first, left, a + b + c - a * first - left], axis=2)


def observed(network, cases, seed):
    rng = np.random.default_rng(seed)
    y0 = 10.0 ** rng.uniform([8, 6, 3], [10, 9, 4], (cases, 3))
    temperature = rng.uniform(200.0, 400.0, cases)
    return Observations(
        network=network,
        ts=jnp.asarray(TS),
        values=jnp.asarray(chain(y0, temperature, TS)),
        operator=jnp.eye(3),
        y0=jnp.asarray(y0),
        t0=jnp.asarray(0.0),
        conditions=jnp.asarray(temperature)[:, None],
        names=("temperature",),
        fixed={},
        labels=network.species,
        noise=0.0,
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("chain") / "chain.txt"
    path.write_text(CHAIN)
    return jaxchem.load(path)


OPEN = """
#DEFVAR
A = IGNORE;
B = IGNORE;
#EQUATIONS
<1> A = B : J(57);
<2> B = A : 1.0D-3;
"""


def test_a_quantity_that_all_cases_have(tmp_path, getkey):
    """Is drawn, solved and kept with the data, and what the equations say is under it."""
    path = tmp_path / "open.kpp"
    path.write_text(OPEN)
    network = jaxchem.load(path)
    fixed = {"quantities": {"J(57)": 2e-3}}
    initial = {"A": [1e9, 1e10], "B": [1e8, 1e9]}
    y0, given = draw(network, cases=20, initial=initial, fixed=fixed, seed=0)
    assert given == fixed
    dataset, failed = generate_ensemble(network, y0, given, TS, progress=False)
    assert not len(failed)
    whole = y0.sum(axis=1)
    end = whole / 3 + (y0[:, 0] - whole / 3) * np.exp(-3e-3 * TS[-1])
    np.testing.assert_allclose(dataset["concentration"][:, -1, 0], end, rtol=1e-4)
    data = observe(dataset, network)
    model = ChangeMap.fitted(data, key=getkey(), width=4, depth=1)
    jaxchem.save(tmp_path / "model.eqx", model)
    model = jaxchem.load_model(tmp_path / "model.eqx")
    assert model.about.shared == fixed
    made = model.known(jnp.asarray(y0[0]), jnp.zeros(0))[2:4]
    amounts = np.minimum(1e4, 1e-3 * np.asarray(data.values).max(axis=(0, 1)))
    wanted = np.log10(1 + np.array([1e-3 * y0[0, 1], 2e-3 * y0[0, 0]]) * TS[-1] / amounts)
    np.testing.assert_allclose(made, wanted, rtol=1e-6)


@pytest.fixture(scope="module")
def data(network):
    return observed(network, 512, 0)


class Told(eqx.Module):
    """What a perceptron should have given."""

    answer: jax.Array

    def __call__(self, x):
        return self.answer


def test_modes_hold_the_trajectories(data, network, getkey):
    """Of trajectories that they were not taken from, at the data's times, between and beyond."""
    model = ChangeMap.fitted(data, key=getkey(), width=4, depth=1)
    assert len(model.deviation) == 24  # 8 functions of time for 3 species
    test = observed(network, 16, 1)
    between = np.append(TS[15:-1] + 30.0, [3600.0, 1e5])
    for ts, wanted in ((TS, TS), (between, np.minimum(between, 3600.0)), (np.zeros(1), None)):
        for n, answer in enumerate(model.examples(test).wanted):
            exact = eqx.tree_at(lambda m: m.mlp, model, Told(answer))
            found = exact(test.y0[n], test.conditions[n], ts)
            truth = np.asarray(test.y0[n])[None]
            if wanted is not None:
                truth = chain(test.y0[n : n + 1], test.conditions[n], wanted)[0]
            np.testing.assert_allclose(found, truth, rtol=2e-4, atol=100.0)


def test_gains_and_losses_are_those_of_the_start(data, getkey):
    """log10(1 + made / F), and how often what is there is lost, of A + B + C in an hour."""
    model = ChangeMap.fitted(data, key=getkey(), width=4, depth=1)
    y0, temperature = np.array([2e9, 1e8, 5e3]), 330.0
    k, m = 1.1e-3 * 3600, 2e-3 * 3600
    amounts = np.minimum(1e4, 1e-3 * np.asarray(data.values).max(axis=(0, 1)))
    made, lost = np.array([0.0, k * y0[0], m * y0[1]]), np.array([k, m, 0.0])
    wanted = [np.log10(1 + y0 / amounts), [temperature], np.log10(1 + made / amounts)]
    wanted = np.concatenate([*wanted, np.log10(lost + 1e-3)])
    found = model.known(jnp.asarray(y0), jnp.array([temperature]))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    without = ChangeMap.fitted(data, key=getkey(), width=4, depth=1, tendencies=False)
    found = without.known(jnp.asarray(y0), jnp.array([temperature]))
    np.testing.assert_allclose(found, wanted[:4], rtol=1e-6)


def test_a_chain_is_asked_within_what_was_learned(data, getkey):
    """However far it is off, and with no input magnified that hardly varied."""
    y0 = np.array(data.y0)
    y0[:, 2] = 1e9 * (1 + 1e-4 * np.arange(len(y0)) / len(y0))
    data = dataclasses.replace(data, y0=jnp.asarray(y0))
    free, model = (
        ChangeMap.fitted(data, key=getkey(), width=4, depth=1, chained=chained)
        for chained in (False, True)
    )
    assert model.restarts and not free.restarts
    inputs = np.asarray(jax.vmap(model.inputs)(data.y0, data.conditions))
    low, high = model.limits
    np.testing.assert_allclose(inputs.min(axis=0), low, rtol=1e-6)
    np.testing.assert_allclose(inputs.max(axis=0), high, rtol=1e-6)
    place = list(model.chosen).index(2)
    assert np.abs(inputs[:, place]).max() < 1e-3 and model.width[place] == LEAST_SPREAD
    wide = np.asarray(jax.vmap(free.inputs)(data.y0, data.conditions))
    assert np.abs(wide[:, place]).max() > 1
    small = dataclasses.replace(data, conditions=data.conditions * 1e-19)
    model_of_small = ChangeMap.fitted(
        small, key=getkey(), width=4, depth=1, tendencies=False, chained=True
    )
    column = list(model_of_small.chosen).index(3)  # after three species
    values = jax.vmap(model_of_small.inputs)(small.y0, small.conditions)[:, column]
    np.testing.assert_allclose(values.std(), 1.0, rtol=0.1)  # a condition in its own units
    far = jnp.array([1e30, 0.0, 1e30]), jnp.array([1e4])
    inputs = np.asarray(model.inputs(*far))
    np.testing.assert_allclose(np.clip(inputs, low, high), inputs, rtol=1e-6)
    assert np.abs(free.inputs(*far)).max() > 5 * np.abs(inputs).max()


def test_nothing_is_lost_as_fast_as_a_little(data, getkey):
    model = ChangeMap.fitted(data, key=getkey(), width=4, depth=1)
    known = [model.known(jnp.array([a, 1e7, 1e3]), jnp.array([300.0])) for a in (0.0, 1e-30, 1e6)]
    for one in known:
        np.testing.assert_allclose(one[-3], np.log10(3.6 + 1e-3), rtol=1e-6)


def test_it_learns(data, network, getkey):
    start = functools.partial(ChangeMap.fitted, width=32, depth=2)
    how = {"steps": 1500, "optimizer": "soap", "learning_rate": 5e-3, "batch_size": 128}
    result = emulate(None, data, getkey(), start=start, job=QUIET, **how)
    scores = jaxchem.evaluate(result.model, observed(network, 64, 1), train=data, gradients=0)
    found = scores.metrics
    assert found["mean_dex"] < 5e-3 and found["rmse_linear"] < 2e-3
    assert found["mean_dex"] < 0.1 * found["nearest_neighbour/mean_dex"]


def test_what_cannot_be_learned_says_so(data, getkey):
    early = eqx.tree_at(lambda d: d.ts, data, data.ts - 60.0)
    with pytest.raises(ValueError, match=r"all after the start: set data.t0 below"):
        ChangeMap.fitted(early, key=getkey())
    with pytest.raises(ValueError, match=r"every trajectory starts alike"):
        ChangeMap.fitted(data.chosen(np.zeros(10, int)), key=getkey())
    lit = dataclasses.replace(data, fixed={"photolysis": {"J4": 0.0, "J1": "function of time"}})
    with pytest.raises(ValueError, match=r"a photolysis that is no number.* tendencies=false"):
        ChangeMap.fitted(lit, key=getkey())
    with pytest.raises(ValueError, match=r"negligible=10000.0, share=0.0: both must be positive"):
        ChangeMap.fitted(data, key=getkey(), share=0.0)


def test_a_condition_in_tiny_units_is_an_input(data, getkey):
    """Such as a cosmic-ray rate; without tendencies nothing else tells of it."""
    small = dataclasses.replace(data, conditions=1e-18 * data.conditions)
    model = ChangeMap.fitted(small, key=getkey(), width=4, depth=1, tendencies=False)
    assert list(model.chosen) == [0, 1, 2, 3]
