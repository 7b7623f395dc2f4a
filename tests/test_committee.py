"""Deep ensembles: their mean, their spread, the gate."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from problems import QUIET, clouds

import jaxchem
from jaxchem.dataset import observe
from jaxchem.ensemble import emulate_ensemble, generate_ensemble
from jaxchem.metrics import uncertainty_scores
from jaxchem.models import About, AbstractEmulator, Committee, FlowMap, conserved
from jaxchem.stages import committee, emulate, evaluate


class Constant(AbstractEmulator):
    value: Array
    about: About = eqx.field(static=True, default=About(("a", "b")))

    def predict(self, y0, conditions, ts):
        return jnp.full((len(ts), 2), self.value)


def test_mean_and_spread_by_hand():
    members = tuple(Constant(jnp.asarray(v)) for v in (1.0, 10.0, 100.0))
    model = Committee(members, np.asarray(1e-30))
    query = jnp.ones(2), jnp.ones(0), jnp.ones(3)
    y, spread = jax.jit(lambda: (model(*query), model.spread(*query)))()
    np.testing.assert_allclose(y, np.full((3, 2), 10.0), rtol=1e-12)
    np.testing.assert_allclose(spread, np.ones((3, 2)), rtol=1e-12)


def test_members_that_differ_are_refused():
    other = Constant(jnp.asarray(1.0), About(("b", "a")))
    with pytest.raises(ValueError, match="have the states b, a and a, b; bring them into one"):
        Committee((Constant(jnp.asarray(1.0)), other))
    with pytest.raises(ValueError, match="members=1: a committee has two"):
        Committee((other,))


def test_scores_of_a_spread_by_hand():
    """Twenty states of two species; the one with the largest spread holds two large errors."""
    error, spread = np.full((4, 5, 2), 0.01), np.full((4, 5, 2), 0.02)
    error[1, 2], spread[1, 2, 0] = -0.5, 1.0
    error[3, 3, 0] = 0.4
    scores = uncertainty_scores(error, spread, share=0.05)
    assert 0.02 < scores["gate/limit"] < 1.0
    assert np.isclose(scores["gate/recall"], 2 / 3)
    assert np.isclose(scores["gate/states"], 0.1) and np.isclose(scores["gate/missed"], 0.05)
    assert np.isclose(scores["gate/mean_dex"], (37 * 0.01 + 0.4) / 38)
    assert np.isclose(scores["spread/within_1"], 38 / 40)
    perfect = uncertainty_scores(error, np.abs(error), share=0.1)
    assert perfect["gate/recall"] == 1.0 and np.isclose(perfect["spread/correlation"], 1.0)


def test_training_a_committee(tmp_path, getkey):
    """Members differ, a file keeps them all, and a resumed run is the same one."""
    network = jaxchem.load("osu29")
    y0, conditions = clouds(network, cases=24, temperature=(20.0, 100.0))
    ts = np.geomspace(1e3, 1e13, 8)
    dataset, _ = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    data = observe(dataset, network)
    start = functools.partial(FlowMap.fitted, modes=8, width=8)
    settings = {
        "train": functools.partial(emulate, start=start, steps=20, optimizer="adam"),
        "members": 2,
        "conserve": True,
        "job": QUIET._replace(path=tmp_path / "last.eqx", fingerprint="mark"),
    }
    key = getkey()
    result = committee(None, data, key, **settings)
    assert len(list(tmp_path.glob("last_*.eqx"))) == 2 and result.history["loss"].shape == (20,)
    jaxchem.save(tmp_path / "model.eqx", result.model)
    again = jaxchem.load_model(tmp_path / "model.eqx")
    arguments = data.y0[0], data.conditions[0], data.ts
    y, spread = result.model(*arguments), result.model.spread(*arguments)
    assert np.all(np.asarray(spread) >= 0) and np.max(spread) > 1e-3
    np.testing.assert_array_equal(again.spread(*arguments), spread)
    resumed = committee(None, data, key, **settings).model
    np.testing.assert_array_equal(resumed(*arguments), y)
    scores = evaluate(again, data, train=data).metrics
    assert (
        0 <= scores["gate/recall"] <= 1 and scores["spread/within_2"] >= scores["spread/within_1"]
    )
    with pytest.raises(ValueError, match="members=1: a committee has two"):
        committee(None, data, key, **{**settings, "members": 1})


class Halved(AbstractEmulator):
    """Says half or twice a state's total, and is unsure of hot cells."""

    sign: float
    about: About = eqx.field(static=True)

    def predict(self, y0, conditions, ts):
        off = jnp.where(conditions[0] > 60, 1.0, 1e-3) * self.sign
        return jnp.tile(y0 * 2.0**off, (len(ts), 1))


def test_the_solver_takes_what_is_in_doubt():
    network = jaxchem.load("osu29")
    y0, conditions = clouds(network, cases=12, temperature=(20.0, 100.0))
    ts = np.geomspace(1e3, 1e13, 4)
    hot = conditions["temperature"] > 60
    about = About(network.species, ("temperature",))
    model = Committee((Halved(1.0, about), Halved(-1.0, about)), np.asarray(1e-30))
    told = {"cosmic_ray_rate": 1e-16, "temperature": conditions["temperature"]}
    ys, solved = emulate_ensemble(
        model, network, y0, told, ts, limit=0.1, t0=1.0, block=5, progress=False
    )
    np.testing.assert_array_equal(solved, hot)
    assert 0 < hot.sum() < 12
    cell = int(np.flatnonzero(hot)[0])
    k = network.rates(temperature=conditions["temperature"][cell], cosmic_ray_rate=1e-16)
    alone = jaxchem.solve(network, k, y0[cell], ts, t0=1.0).ys
    np.testing.assert_allclose(ys[cell], alone, rtol=1e-5, atol=1e-20)
    np.testing.assert_allclose(ys[~hot], np.repeat(y0[~hot, None], 4, axis=1), rtol=1e-9)
    for unsure in (Halved(1.0, about), conserved(Halved(1.0, about), network)):
        with pytest.raises(ValueError, match="does not know how sure it is; train a committee"):
            emulate_ensemble(unsure, network, y0, told, ts, limit=0.1)
    with pytest.raises(ValueError, match="'temperature' is missing"):
        emulate_ensemble(model, network, y0, {"cosmic_ray_rate": 1e-16}, ts, limit=0.1)
