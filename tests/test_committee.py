"""Deep ensembles: their mean, their spread, the gate."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import jaxchem
from jaxchem.dataset import dark_cloud, given, observe
from jaxchem.ensemble import emulate_ensemble, generate_ensemble
from jaxchem.metrics import uncertainty_scores
from jaxchem.models import Committee, Conserved, StepMap, conserved
from jaxchem.stages import Resume, committee, emulate, evaluate_emulator, new_flow_map
from jaxchem.stages.base import Problem
from jaxchem.stages.evaluate import _asked


class Constant(eqx.Module):
    value: Array

    def __call__(self, y0, conditions, ts):
        return jnp.full((len(ts), 2), self.value)


def test_mean_and_spread_by_hand():
    members = tuple(Constant(jnp.asarray(v)) for v in (1.0, 10.0, 100.0))
    model = Committee(members, np.asarray(1e-30))
    y, spread = jax.jit(lambda: model.predict(jnp.ones(2), jnp.ones(0), jnp.ones(3)))()
    np.testing.assert_allclose(y, np.full((3, 2), 10.0), rtol=1e-12)
    np.testing.assert_allclose(spread, np.ones((3, 2)), rtol=1e-12)
    np.testing.assert_array_equal(model(jnp.ones(2), jnp.ones(0), jnp.ones(3)), y)


def test_a_committee_of_step_maps_is_asked_for_elapsed_times(getkey):
    member = StepMap(inputs=2, grid=4, size=2, key=getkey())
    member = eqx.tree_at(lambda m: m.start, member, np.asarray(5.0))
    model = Committee((Conserved(member, np.ones((1, 2))),) * 2, np.asarray(1e-30))
    for one in (member, model, Conserved(model, np.ones((1, 2)))):
        np.testing.assert_array_equal(_asked(one, np.array([6.0, 9.0])), [1.0, 4.0])


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
    y0, conditions = dark_cloud(network, cases=24, temperature=(20.0, 100.0))
    ts = np.geomspace(1e3, 1e13, 8)
    dataset, _ = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    data = observe(dataset, network)
    problem = Problem(network, jaxchem.Integrator(), None, np.zeros(224, bool))
    start = functools.partial(new_flow_map, modes=8, width=8)
    settings = {
        "train": functools.partial(emulate, start=start, steps=20, optimizer="adam"),
        "members": 2,
        "conserve": True,
        "resume": Resume(tmp_path / "last.eqx", "mark"),
        "progress": False,
    }
    key = getkey()
    result = committee(problem, None, data, key, **settings)
    assert len(list(tmp_path.glob("last_*.eqx"))) == 2 and result.history["loss"].shape == (20,)
    jaxchem.save(tmp_path / "model.eqx", result.model)
    again = jaxchem.load_model(tmp_path / "model.eqx")
    arguments = data.y0[0], data.conditions[0], data.ts
    y, spread = result.model.model.predict(*arguments)
    assert np.all(np.asarray(spread) >= 0) and np.max(spread) > 1e-3
    np.testing.assert_array_equal(again.model.predict(*arguments)[1], spread)
    resumed = committee(problem, None, data, key, **settings).model
    np.testing.assert_array_equal(resumed.model.predict(*arguments)[0], y)
    scores, _ = evaluate_emulator(
        *(network, again, data, ts, dataset["concentration"].values),
        *(dataset["initial"].values, given(dataset)),
    )
    assert (
        0 <= scores["gate/recall"] <= 1 and scores["spread/within_2"] >= scores["spread/within_1"]
    )
    with pytest.raises(ValueError, match="members=1: a committee has two"):
        committee(problem, None, data, key, **{**settings, "members": 1})


class Halved(eqx.Module):
    """Says half or twice a state's total, and is unsure of hot cells."""

    sign: float

    def __call__(self, y0, conditions, ts):
        off = jnp.where(conditions[0] > 60, 1.0, 1e-3) * self.sign
        return jnp.tile(y0 * 2.0**off, (len(ts), 1))


def test_the_solver_takes_what_is_in_doubt():
    network = jaxchem.load("osu29")
    y0, conditions = dark_cloud(network, cases=12, temperature=(20.0, 100.0))
    ts = np.geomspace(1e3, 1e13, 4)
    hot = conditions["temperature"] > 60
    model = Committee((Halved(1.0), Halved(-1.0)), np.asarray(1e-30))
    told = {"temperature": conditions["temperature"], "cosmic_ray_rate": 1e-16}
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
    for unsure in (Halved(1.0), conserved(Halved(1.0), network)):
        with pytest.raises(ValueError, match="Halved does not know how sure it is"):
            emulate_ensemble(unsure, network, y0, told, ts, limit=0.1)
