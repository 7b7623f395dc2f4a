"""What a model of somebody's own needs: one class in one file, which is this one."""

import functools
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from problems import QUIET, clouds

import jaxchem
from jaxchem.dataset import observe
from jaxchem.ensemble import generate_ensemble
from jaxchem.models import (
    About,
    AbstractEmulator,
    AbstractWrapper,
    ChangeMap,
    ChemNNE,
    Committee,
    FlowMap,
    Function,
    Latent,
    StepMap,
    conserved,
    similar,
)
from jaxchem.stages import emulate, evaluate


class Powers(AbstractEmulator):
    """Every species is its initial value, or the mean one, times a power of time, by a network."""

    about: About = eqx.field(static=True)
    net: eqx.nn.MLP
    scale: Array

    @classmethod
    def fitted(cls, data, *, width=8, key):
        about, size = About.of(data), data.y0.shape[1]
        net = eqx.nn.MLP(size + len(about.conditions), size, width, 1, key=key)
        return cls(about, net, jnp.zeros(size))

    def predict(self, y0, conditions, ts):
        inputs = jnp.log10(jnp.maximum(jnp.concatenate([y0, conditions]), 1e-30)) / 10
        power = 0.5 * jnp.tanh(self.net(inputs))
        logs = jnp.log(jnp.maximum(y0, 1e-20)) + self.scale
        return jnp.exp(logs[None] + power[None] * jnp.log1p(ts)[:, None])

    def examples(self, data):
        ts = jnp.tile(data.ts - data.t0, (len(data.y0), 1))
        return data.y0, data.conditions, ts, jnp.log(jnp.maximum(data.states, 1e-20))

    def terms(self, batch, key):
        y0, conditions, ts, logs = batch
        found = jnp.log(jax.vmap(self.predict)(y0, conditions, ts))
        return {"trajectory": jnp.mean((found - logs) ** 2)}


class Doubled(AbstractWrapper):
    """Twice what the model inside says."""

    inner: AbstractEmulator

    @property
    def about(self):
        return self.inner.about

    @property
    def corrects(self):
        return True

    def predict(self, y0, conditions, ts):
        return 2 * self.inner.predict(y0, conditions, ts)


def doubled(model, network):
    return Doubled(model)


@pytest.fixture(scope="module")
def data():
    """Dark clouds of varied carbon, temperature and cosmic rays."""
    network = jaxchem.load("osu29")
    y0, conditions = clouds(
        network, cases=24, temperature=(20.0, 100.0), cosmic_ray_rate=(1e-17, 1e-15)
    )
    ts = np.geomspace(1e3, 1e13, 8)
    dataset, failed = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    assert not len(failed)
    return observe(dataset, network)


LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import jaxchem
model = jaxchem.load_model(sys.argv[2], trust=sys.argv[3:])
with np.load(sys.argv[2] + ".npz") as query:
    print(repr(np.asarray(model(query["y0"], query["conditions"], query["ts"])).tobytes()))
"""


def test_one_class_is_enough(data, tmp_path, getkey):
    """It trains, wraps, is measured, saved, and loaded by a process that trusts this file."""
    result = emulate(
        None,
        data,
        getkey(),
        start=functools.partial(Powers.fitted, width=4),
        steps=200,
        learning_rate=1e-2,
        wrap=[doubled],
        conserve=True,
        job=QUIET,
    )
    loss = result.history["loss"]
    assert loss[-20:].mean() < 0.7 * loss[:20].mean()
    model = result.model
    assert isinstance(model.inner, Doubled) and isinstance(model.inner.inner, Powers)
    scores, prediction, _ = evaluate(model, data, train=data)
    assert prediction.shape == data.states.shape and scores["drift"] < 1e-10
    assert {"free/mean_dex", "train_mean/mean_dex"} <= set(scores)
    path = tmp_path / "model.eqx"
    jaxchem.save(path, Committee((model, model)))
    query = {"y0": data.y0[3], "conditions": data.conditions[3], "ts": data.ts}
    np.savez(f"{path}.npz", **query)
    run = [sys.executable, "-c", LOAD, str(Path(__file__).parent), str(path)]
    there = subprocess.run([*run, "test_contract"], capture_output=True, text=True, env=os.environ)
    assert there.returncode == 0, there.stderr
    again = jaxchem.load_model(path, trust=["test_contract"])(**query)
    assert eval(there.stdout) == np.asarray(again).tobytes()
    np.testing.assert_allclose(again, model(**query), rtol=1e-9)
    refused = subprocess.run(run, capture_output=True, text=True, env=os.environ)
    assert "test_contract:Doubled, and test_contract is not trusted" in refused.stderr


def test_one_conf_file_is_enough(tmp_path):
    """The command line trains it, measures it beside the baselines, and takes its file up again."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "powers.yaml").write_text(
        "_target_: test_contract.Powers.fitted\n_partial_: true\nwidth: 4\n"
    )
    small = ["data.draw.cases=24", "data.times.points=6", "stages.emulate.steps=2", "gradients=0"]
    command = [*(sys.executable, "-m", "jaxchem.run", "--config-dir", str(tmp_path))]
    command += ["+experiment=emulate_osu29", "model=powers", *small, "hydra.run.dir=out"]
    roots = Path(__file__).parent, Path(jaxchem.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, roots))}
    how = {"cwd": tmp_path, "capture_output": True, "text": True, "env": environment}
    refused = subprocess.run(command, **how)
    assert "_target_: test_contract.Powers.fitted is not among" in refused.stdout + refused.stderr
    command.append("trust=test_contract")
    first, second = (subprocess.run(command, **how) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stdout + first.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"mean_dex", "train_mean/mean_dex"} <= set(metrics)
    assert "stage emulate: taken up" in second.stdout + second.stderr
    wrong = subprocess.run([*command, "+model.widht=3"], **how)
    assert "start.widht is no setting; did you mean 'width'?" in wrong.stdout + wrong.stderr


def test_a_model_says_what_it_is(data, getkey):
    model = conserved(FlowMap.fitted(data, key=getkey(), modes=8, width=8), data.network)
    first, *_, times, source = repr(Committee((model, model))).splitlines()
    assert first.startswith("Committee(2 x Conserved(FlowMap)), ") and len(_) == 2
    assert _[0] == "states (29, cm-3): " + ", ".join(data.network.species[:8]) + ", ..."
    assert _[1].startswith("conditions: temperature 21 to 9") and ", cosmic_ray_rate 1" in _[1]
    assert times == "times: s since y0, which is at 1"
    assert source == "trained on: 24 trajectories of osu29, 999 to 1e+13 s after y0"


def test_what_has_no_name_is_not_saved(data, tmp_path):
    model = Function(lambda *a: a[0], About.of(data))
    with pytest.raises(ValueError, match=r"Function.function is <function .*lambda.* top of a mod"):
        jaxchem.save(tmp_path / "model.eqx", model)


class Held(AbstractEmulator):
    """Holds what a file cannot: an array that is no leaf."""

    about: About = eqx.field(static=True)
    index: np.ndarray = eqx.field(static=True)

    def predict(self, y0, conditions, ts):
        return y0[None]


@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
def test_an_array_that_is_static_is_not_saved(data, tmp_path):
    with pytest.raises(ValueError, match=r"Held.index is an array in a static field"):
        jaxchem.save(tmp_path / "model.eqx", Held(About.of(data), np.arange(3)))
    low = About.of(data)._replace(start=np.float32(1.0))
    with pytest.raises(ValueError, match=r"Held.about.start is an array in a static field"):
        jaxchem.save(tmp_path / "model.eqx", Held(low, ()))


def test_wrappers_have_the_spread_and_range_of_what_is_inside(data, getkey):
    plain = FlowMap.fitted(data, key=getkey(), modes=8, width=8)
    line = {"value": 1e-16, "exponents": {"cosmic_ray_rate": 1.0}}
    model = conserved(
        Doubled(similar(Committee((plain, plain)), data.network, **line)), data.network
    )
    query = data.y0[0], data.conditions[0], data.ts
    assert model.spread(*query).shape == data.states.shape[1:]
    hot = np.array(data.conditions)
    hot[:, 0] *= 100
    for one in (model, Committee((model, model))):
        assert set(one.outside(np.asarray(data.y0), hot)) >= {"temperature"}


def test_a_stage_goes_on_with_a_model_by_name(data, getkey):
    """Conditions of the data in another order are those that the model means."""
    model, key = Powers.fitted(data, key=getkey()), getkey()
    how = {"steps": 3, "batch_size": None, "optimizer": "adam", "job": QUIET}
    losses = [
        emulate(model, one, key, **how).history["loss"]
        for one in (data, data.in_order(data.names[::-1]))
    ]
    np.testing.assert_array_equal(*losses)


def test_what_cannot_be_trained_says_so(data, getkey):
    model = Function(lambda *a: a[0], About.of(data))
    with pytest.raises(ValueError, match="a Function has no `examples`, so it cannot be trained"):
        emulate(model, data, getkey(), job=QUIET)


def chemnne(data, key):
    """Of even times, as it wants them."""
    even = eqx.tree_at(lambda d: d.ts, data, data.t0 + jnp.linspace(0.0, 1e13, 9)[1:])
    sizes = {"width": 8, "tokens": 2, "size": 4, "heads": 2, "layers": 1, "modes": 3, "bands": 2}
    return ChemNNE.fitted(even, key=key, **sizes)


MAKERS = {
    "chemnne": chemnne,
    "flow_map": functools.partial(FlowMap.fitted, modes=8, width=8),
    "change_map": functools.partial(ChangeMap.fitted, modes=8, width=8),
    "step_map": functools.partial(StepMap.fitted, modes=8, width=8, starts=4),
    "latent": functools.partial(Latent.fitted, latent=3, coder=(8,)),
    "powers": functools.partial(Powers.fitted, width=4),
    "committee": lambda data, key: Committee(
        tuple(FlowMap.fitted(data, key=k, modes=8, width=8) for k in jax.random.split(key, 2))
    ),
    "conserved": lambda data, key: conserved(
        FlowMap.fitted(data, key=key, modes=8, width=8), data.network
    ),
    "similar": lambda data, key: similar(
        FlowMap.fitted(data, key=key, modes=8, width=8),
        data.network,
        value=1e-16,
        exponents={"cosmic_ray_rate": 1.0},
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_names_not_positions(name, data, tmp_path, getkey):
    """Permuted conditions and states give the same numbers; another name is an error."""
    made = MAKERS[name](data, key=getkey())
    jaxchem.save(tmp_path / "model.eqx", made)
    for model in (made, jaxchem.load_model(tmp_path / "model.eqx", trust=[__name__])):
        y0, (temperature, rate), ts = data.y0[5], data.conditions[5], data.ts - data.t0
        expected = model(y0, data.conditions[5], ts)
        told = {"cosmic_ray_rate": rate, "temperature": temperature}
        np.testing.assert_array_equal(model(y0, told, ts), expected)
        with pytest.raises(ValueError, match="'temperature' is missing; did you mean 'temprature'"):
            model(y0, {"temprature": temperature, "cosmic_ray_rate": rate}, ts)
        order = np.random.default_rng(0).permutation(29)
        species = [data.network.species[n] for n in order]
        other = model.in_order(species, ("cosmic_ray_rate", "temperature"))
        found = other(y0[order], jnp.stack([rate, temperature]), ts)
        np.testing.assert_array_equal(found, expected[:, order])
        assert other.about.states == tuple(species)
        back = other.in_order(model.about.states, model.about.conditions)
        np.testing.assert_array_equal(back(y0, data.conditions[5], ts), expected)
        with pytest.raises(ValueError, match=re.escape(f"{species[0]!r} is missing; did")):
            model.in_order([f"{species[0]}x", *species[1:]], model.about.conditions)


@pytest.mark.parametrize(
    "name", ["flow_map", "change_map", "chemnne", "latent", "conserved", "committee"]
)
def test_not_a_number_stays_one(name, data, getkey):
    """Also in an input that the model does not look at."""
    model = jax.jit(MAKERS[name](data, key=getkey()).__call__)
    for place in (0, 17):
        y0 = data.y0[0].at[place].set(jnp.nan)
        assert np.all(np.isnan(model(y0, data.conditions[0], data.ts)))
    assert np.all(np.isnan(model(data.y0[0], data.conditions[0].at[1].set(jnp.inf), data.ts)))


def test_inputs_outside_of_the_training_range(data, caplog, getkey):
    """One warning that says how far and which, or a refusal; by name in any order."""
    model = FlowMap.fitted(data, key=getkey(), modes=8, width=8)
    caplog.set_level(logging.WARNING, "jaxchem")
    y0, conditions = np.array(data.y0), np.array(data.conditions)
    model.check_range(y0, conditions)
    assert not caplog.records
    conditions[3, 0] *= 100 * conditions[:, 0].max() / conditions[3, 0]
    y0[4, data.network.index("C")] = 10 * y0[:, data.network.index("C")].max()
    reverse = model.in_order(data.network.species[::-1], data.names[::-1])
    for one, inputs in ((model, (y0, conditions)), (reverse, (y0[:, ::-1], conditions[:, ::-1]))):
        caplog.clear()
        one.check_range(*inputs)
        (record,) = caplog.records
        assert "temperature by 2 dex, C by 1 dex" in record.getMessage()
        with pytest.raises(ValueError, match=r"temperature by 2 dex.* without strict"):
            one.check_range(*inputs, strict=True)
