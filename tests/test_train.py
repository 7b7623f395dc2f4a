import signal
import subprocess
import sys
import textwrap

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxchem import checkpoint
from jaxchem.train import Job, fit, recipe, trainable

KEY = jax.random.key(5)
QUIET = Job(progress=False)
adam = optax.adam


JOB = """
import jax
import jax.numpy as jnp
import numpy as np

from jaxchem.train import Job, fit, recipe

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
X = jnp.asarray(rng.standard_normal((23, 4)))
Y = X @ jnp.arange(4.0) + 0.1 * jnp.asarray(rng.standard_normal(23))


def loss(model, batch, key):
    x, y = batch
    noise = 0.01 * jax.random.normal(key, y.shape)
    return jnp.mean((jnp.tanh(x @ model["w"]) + model["b"] - y + noise) ** 2)


def job(path, steps=60):
    return fit(
        loss,
        {"w": jnp.ones(4), "b": jnp.zeros(())},
        (X, Y),
        optimizer=recipe(steps=60, learning_rate=0.05, plateau=5 / 60, clip=0.5),
        steps=steps,
        key=jax.random.key(1),
        batch_size=7,
        job=Job("fit", False, path, "job", save_every=0.0),
    )
"""


def job(path):
    """The fit of JOB, in this process."""
    space = {}
    exec(JOB, space)
    return space["job"](path)


@pytest.fixture(scope="module")
def unbroken():
    return job(None)


def assert_identical(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def square(model, batch, key):
    del key
    return jnp.mean((model[None] - batch) ** 2)


# What is minimised


def test_reaches_the_minimum_of_a_quadratic():
    """The mean square distance to points is least at their mean, where it is their variance."""
    points = jnp.array([[1.0, -2.0], [3.0, 0.5], [2.0, 6.0]])
    model, history = fit(
        square,
        jnp.zeros(2),
        points,
        optimizer=adam(0.1),
        steps=600,
        key=KEY,
        job=QUIET,
    )
    np.testing.assert_allclose(model, points.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(history["loss"][-1], np.var(points, axis=0).mean(), rtol=1e-9)
    np.testing.assert_allclose(history["loss"][0], np.mean(np.asarray(points) ** 2), rtol=1e-12)
    gradient = -2.0 * np.mean(points, axis=0) / 2.0
    np.testing.assert_allclose(history["gradient_norm"][0], np.linalg.norm(gradient), rtol=1e-12)
    assert history["loss"].shape == history["gradient_norm"].shape == (600,)
    assert np.all(np.isfinite(history["loss"]))


def test_the_rate_is_cut_where_the_loss_stalls():
    """|w - 0.3| never settles under a constant rate."""

    def distance(model, batch, key):
        del batch, key
        return jnp.abs(model - 0.3)

    def end(optimizer):
        run = {"steps": 600, "key": KEY, "job": QUIET}
        _, history = fit(distance, jnp.zeros(()), jnp.zeros(1), optimizer=optimizer, **run)
        return np.max(history["loss"][-50:])

    slower = recipe(steps=600, learning_rate=0.1, plateau=20 / 600, plateau_factor=0.5)
    assert end(slower) < 1e-6
    assert end(adam(0.1)) > 1e-3


def test_clip_bounds_each_element_of_the_gradient():
    optimizer = recipe(steps=10, learning_rate=1e-3, clip=1.0)
    parameters = jnp.zeros(3)
    gradient = jnp.array([100.0, -0.5, -3.0])
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its own types
        _, state = optimizer.update(gradient, optimizer.init(parameters), parameters, value=1.0)
    moments = [a for a in jax.tree.leaves(state) if jnp.shape(a) == (3,)]
    np.testing.assert_allclose(moments[0], 0.1 * np.array([1.0, -0.5, -1.0]), rtol=1e-12)


def test_numpy_leaves_and_integers_stay_as_they_are():
    model = {
        "free": jnp.array([1.0, 1.0]),
        "fixed": np.array([2.0, 2.0]),
        "count": jnp.array([3, 3]),
        "slope": 4.0,
        "name": "x",
    }

    def loss(model, batch, key):
        del key
        total = model["free"] + model["fixed"] + model["count"].astype(float) + model["slope"]
        return jnp.mean((total[None] - batch) ** 2)

    fitted, _ = fit(
        loss, model, jnp.zeros((1, 2)), optimizer=optax.sgd(0.5), steps=50, key=KEY, job=QUIET
    )
    np.testing.assert_allclose(fitted["free"], [-9.0, -9.0], rtol=1e-8)
    assert isinstance(fitted["fixed"], np.ndarray)
    for name in ("fixed", "count", "slope", "name"):
        np.testing.assert_array_equal(fitted[name], model[name])


def test_trainable():
    assert trainable(jnp.ones(2))
    for leaf in (np.ones(2), jnp.arange(2), 1.0, None, "x", jnp.array([True])):
        assert not trainable(leaf)


def test_nothing_to_fit():
    with pytest.raises(ValueError, match="finetune: there is nothing to fit; the data hold no"):
        fit(
            square,
            jnp.zeros(2),
            jnp.zeros((0, 2)),
            optimizer=adam(0.1),
            steps=3,
            key=KEY,
            job=QUIET._replace(label="finetune"),
        )


# Batches


def visits(count, batch_size, steps, key=KEY):
    """How often each example was drawn: gradient descent takes 1 off its weight each time."""

    def loss(model, batch, key):
        del key
        return jnp.sum(model[batch])

    model, _ = fit(
        loss,
        jnp.zeros(count),
        jnp.arange(count),
        optimizer=optax.sgd(1.0),
        steps=steps,
        key=key,
        batch_size=batch_size,
        job=QUIET,
    )
    return -np.asarray(model).astype(int)


@pytest.mark.parametrize(
    ("count", "batch_size", "epoch"), [(12, 4, 3), (12, 1, 12), (7, 7, 1), (7, None, 1), (7, 99, 1)]
)
def test_each_epoch_draws_every_example_once(count, batch_size, epoch):
    np.testing.assert_array_equal(visits(count, batch_size, epoch), 1)
    np.testing.assert_array_equal(visits(count, batch_size, 3 * epoch), 3)


def test_a_last_batch_that_is_not_full_is_filled_up():
    """Batches of 4 from 10: three an epoch, two examples twice."""
    drawn = visits(10, 4, 3)
    assert drawn.sum() == 12
    assert set(drawn) == {1, 2}


def test_epochs_and_keys_shuffle_differently():
    first = visits(40, 20, 1)
    assert first.sum() == 20
    third = visits(40, 20, 3) - visits(40, 20, 2)
    assert np.any(third != first)
    assert np.any(visits(40, 20, 1, jax.random.key(6)) != first)
    np.testing.assert_array_equal(visits(40, 20, 1), first)


def test_every_step_has_a_key_of_its_own():
    def loss(model, batch, key):
        del batch
        return 0.0 * model + jax.random.uniform(key)

    _, history = fit(
        loss, jnp.zeros(()), jnp.zeros(1), optimizer=adam(0.1), steps=50, key=KEY, job=QUIET
    )
    assert len(np.unique(history["loss"])) == 50


# Steps that are refused


def test_a_step_of_a_bad_example_is_refused():
    """One of five examples is not a number: one step of each epoch must leave everything as is."""
    data = jnp.array([1.0, 1.0, jnp.nan, 1.0, 1.0])
    epochs = 4
    model, history = fit(
        square,
        jnp.zeros(()),
        data,
        optimizer=optax.sgd(0.05),
        steps=5 * epochs,
        key=KEY,
        batch_size=1,
        job=QUIET,
    )
    assert np.isnan(history["loss"]).sum() == epochs
    np.testing.assert_allclose(model, 1.0 - 0.9 ** (4 * epochs), rtol=1e-12)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), recipe(steps=4, plateau=0.8)])
def test_an_infinite_gradient_of_a_finite_loss_is_refused(optimizer):
    def loss(model, batch, key):
        del batch, key
        return jnp.sqrt(model)  # 0 at 0, with an infinite slope

    model, history = fit(
        loss, jnp.zeros(()), jnp.zeros(1), optimizer=optimizer, steps=4, key=KEY, job=QUIET
    )
    assert float(model) == 0.0
    np.testing.assert_array_equal(history["loss"], 0.0)
    assert np.all(np.isinf(history["gradient_norm"]))


def test_a_refused_step_does_not_enter_the_moments_of_adam():
    """Good steps around refused ones do what they do without those."""
    data = jnp.array([1.0, jnp.nan])
    mixed, history = fit(
        square,
        jnp.zeros(()),
        data,
        optimizer=adam(0.1),
        steps=8,
        key=KEY,
        batch_size=1,
        job=QUIET,
    )
    plain, _ = fit(
        square, jnp.zeros(()), data[:1], optimizer=adam(0.1), steps=4, key=KEY, job=QUIET
    )
    assert np.isnan(history["loss"]).sum() == 4
    np.testing.assert_allclose(mixed, plain, rtol=1e-12)


def test_a_step_into_a_region_without_a_loss_is_taken_back():
    """Full steps overshoot 1, where nothing is finite any more; half a step gets to 0.9."""

    def cliff(model, batch, key):
        del batch, key
        return jnp.where(model < 1.0, (model - 0.9) ** 2, jnp.nan)

    model, history = fit(
        cliff,
        jnp.zeros(()),
        jnp.zeros(1),
        optimizer=optax.sgd(1.0),
        steps=40,
        key=KEY,
        job=QUIET,
    )
    assert np.isnan(history["loss"][1])
    assert np.isfinite(float(model))
    np.testing.assert_allclose(model, 0.9, atol=1e-3)
    np.testing.assert_allclose(history["loss"][0], 0.81)


# Resume


@pytest.mark.parametrize("saves", [1, 2, 4])
def test_an_interrupted_fit_ends_bit_for_bit_like_an_unbroken_one(
    unbroken, tmp_path, monkeypatch, saves
):
    path = tmp_path / "last.eqx"
    save, left = checkpoint.save, saves

    def interrupted(*arguments, **header):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        save(*arguments, **header)

    monkeypatch.setattr(checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job(path)
    monkeypatch.undo()
    assert path.exists()
    assert_identical(job(path), unbroken)


def test_a_fit_killed_in_the_middle_of_a_save_resumes_bit_for_bit(unbroken, tmp_path):
    """SIGKILL in the moment before the third checkpoint takes its name."""
    path = tmp_path / "last.eqx"
    suicide = f"""
    import os, signal
    from pathlib import Path

    replace, calls = os.replace, []

    def fatal(*names):
        calls.append(names)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)

    os.replace = fatal
    job(Path({str(path)!r}))
    """
    done = subprocess.run(
        [sys.executable, "-c", JOB + textwrap.dedent(suicide)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoint.read_header(path)["fingerprint"] == "job"
    assert_identical(job(path), unbroken)


def test_a_finished_fit_is_not_run_again(unbroken, tmp_path):
    path = tmp_path / "last.eqx"
    space = {}
    exec(JOB, space)
    first = space["job"](path)

    def never(*arguments):
        raise AssertionError("the loss was evaluated")

    space["loss"] = never
    assert_identical(space["job"](path), first)
    assert_identical(first, unbroken)  # keeping progress changes nothing


def test_checkpoints_of_other_fits_are_refused(tmp_path):
    path = tmp_path / "last.eqx"

    def run(model, **changes):
        settings = {
            "optimizer": adam(0.1),
            "steps": 3,
            "key": KEY,
            "job": QUIET._replace(path=path, fingerprint="one"),
        }
        return fit(square, model, jnp.zeros((1, 2)), **{**settings, **changes})

    run(jnp.ones(2))
    with pytest.raises(ValueError, match="another fingerprint: it has 'one', this run 'two'"):
        run(jnp.ones(2), job=QUIET._replace(path=path, fingerprint="two"))
    with pytest.raises(ValueError, match=r"last.eqx holds something else than expected"):
        run(jnp.ones((1, 2)))
    with pytest.raises(ValueError, match=r"last.eqx holds something else than expected"):
        run(jnp.ones(2), steps=4)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"last.eqx is truncated.*Delete it to start this stage"):
        run(jnp.ones(2))
    checkpoint.save(path, jnp.zeros(2), kind="model", fingerprint="one")
    with pytest.raises(ValueError, match="made with another kind: it has 'model', this run 'fit'"):
        run(jnp.ones(2))


def test_an_equinox_model_is_fitted_in_place_of_its_arrays():
    class Line(eqx.Module):
        slope: jax.Array
        offset: np.ndarray
        name: str = eqx.field(static=True)

        def __call__(self, x):
            return self.slope * x + self.offset

    x = jnp.linspace(-1.0, 1.0, 8)

    def loss(model, batch, key):
        del key
        return jnp.mean((jax.vmap(model)(batch[0]) - batch[1]) ** 2)

    model, _ = fit(
        loss,
        Line(jnp.zeros(()), np.asarray(0.5), "line"),
        (x, 3.0 * x + 0.5),
        optimizer=optax.sgd(0.5),
        steps=100,
        key=KEY,
        job=QUIET,
    )
    assert isinstance(model, Line) and model.name == "line"
    np.testing.assert_allclose(model.slope, 3.0, rtol=1e-8)


# What is held back


def held_back(tmp_path=None, steps=400, patience=3):
    """Twelve points of a line with noise, fitted by a polynomial of degree nine."""
    rng = np.random.default_rng(2)
    x = np.linspace(-1, 1, 24)
    powers = jnp.asarray(x[:, None] ** np.arange(10))
    y = jnp.asarray(x + 0.5 * rng.standard_normal(24))

    def loss(model, batch, key):
        del key
        return jnp.mean((batch[0] @ model - batch[1]) ** 2)

    even, odd = ((powers[n::2], y[n::2]) for n in (0, 1))
    model, history = fit(
        loss,
        jnp.zeros(10),
        even,
        optimizer=adam(0.05),
        steps=steps,
        key=KEY,
        held=odd,
        patience=patience,
        every=10,
        job=QUIET._replace(path=tmp_path and tmp_path / "last.eqx"),
    )
    return model, history, float(loss(model, odd, KEY))


def test_stops_where_what_is_held_back_gets_worse(tmp_path):
    model, history, found = held_back(tmp_path)
    steps = len(history["loss"])
    assert steps < 400 and steps % 10 == 0 and np.all(np.isfinite(history["validation"]))
    assert np.isclose(found, history["validation"].min())
    assert history["validation"][-30:].min() > found  # three looks without a better one
    assert history["loss"][-1] < history["loss"][np.argmin(history["validation"])]
    again, _, _ = held_back(tmp_path)
    assert_identical(again, model)


def test_all_steps_without_patience():
    _, history, found = held_back(steps=205, patience=None)
    assert len(history["loss"]) == 205 and np.isclose(found, history["validation"].min())
    looks = np.flatnonzero(np.diff(history["validation"])) + 1
    assert np.all(looks % 10 == 0) and looks[-1] == 200


def test_a_fit_without_a_step_is_told(caplog):
    data = jnp.full(3, jnp.nan)
    options = {"optimizer": optax.sgd(0.1), "steps": 2, "key": KEY, "job": QUIET}
    model, _ = fit(square, jnp.zeros(()), data, **options)
    assert model == 0
    assert "fit: no step of 2 had a finite loss" in caplog.text


# Settings, samplers and what else a loss depends on


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "lbfgs", "learning_rate": 0.1}, "learning_rate=0.1 has no part with optimi"),
        ({"optimizer": "lbfgs", "clip": 1.0}, "clip=1.0 has no part with optimizer=lbfgs"),
        ({"optimizer": "adam", "refresh": 5}, "refresh=5 has no part with optimizer=adam"),
        ({"plateau": 0.1, "last_rate": 0.1}, "last_rate=0.1 has no part with plateau=0.1"),
        ({"plateau_factor": 0.1}, "plateau_factor=0.1 has no part with plateau=null"),
        ({"optimizer": "soup"}, "unknown optimizer 'soup'; did you mean 'soap'"),
    ],
)
def test_settings_that_an_optimizer_ignores_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        recipe(steps=10, **settings)


def test_the_course_of_the_rate():
    """Under Adam every step of a linear loss is the rate: a rise, then half a cosine."""
    how = recipe(steps=100, learning_rate=0.1, last_rate=0.02, warm_up=5)
    kept = []

    def linear(model, batch, key):
        del key
        return jnp.mean(batch) * model

    for steps in (4, 5, 53, 100):
        settings = {"optimizer": how, "steps": steps, "key": KEY, "job": QUIET}
        kept.append(float(fit(linear, jnp.zeros(()), jnp.ones(1), **settings)[0]))
    rates = np.concatenate(
        [0.1 * np.arange(5) / 5, 0.02 + 0.04 * (1 + np.cos(np.pi * np.arange(95) / 95))]
    )
    np.testing.assert_allclose(-np.array(kept), np.cumsum(rates)[[3, 4, 52, 99]], rtol=1e-5)


@pytest.mark.parametrize("redraw", [1, 10])
def test_a_sampler_draws_anew(redraw):
    """The mean of what was drawn is what a rate of 1 over the number of steps leaves."""
    drawn = []

    def sampler(key):
        return jax.random.normal(key, (3,))

    def loss(model, batch, key):
        del key
        jax.debug.callback(lambda b: drawn.append(float(b)), batch[0])
        return jnp.mean((model - batch) ** 2)

    how = {"optimizer": optax.sgd(0.1), "steps": 40, "key": KEY, "job": QUIET}
    _, history = fit(loss, jnp.zeros(()), sampler, redraw=redraw, **how)
    jax.effects_barrier()
    assert len(set(drawn)) == 40 // redraw and len(history["loss"]) == 40
    again = fit(loss, jnp.zeros(()), sampler, redraw=redraw, **how)[1]
    np.testing.assert_array_equal(again["loss"], history["loss"])


def test_a_state_beside_the_model(tmp_path):
    """A weight that doubles every ten steps, of a run that is resumed as of one that is not."""

    def loss(model, batch, key, weight):
        del key
        return weight * jnp.mean((model - batch) ** 2)

    def grow(weight, model, batch, key, step):
        assert batch.shape == (2,) and jnp.shape(model) == ()
        return jnp.where((step > 0) & (step % 10 == 0), 2 * weight, weight)

    def run(steps, job):
        how = {"optimizer": optax.sgd(0.0), "steps": steps, "key": KEY, "job": job}
        return fit(loss, jnp.zeros(()), jnp.ones(2), auxiliary=(jnp.ones(()), grow), **how)[1]

    expected = 2.0 ** (np.arange(35) // 10)
    np.testing.assert_allclose(run(35, QUIET)["loss"], expected)
    kept = QUIET._replace(path=tmp_path / "last.eqx", save_every=0.0)
    np.testing.assert_allclose(run(35, kept)["loss"], expected)
    state = checkpoint.read_header(kept.path)
    assert state["kind"] == "fit"


def test_what_is_held_back_is_looked_at_in_blocks():
    """The mean over all examples, also where the last block is not full."""
    held = jnp.asarray(np.random.default_rng(0).standard_normal(23))
    shapes = []

    def loss(model, batch, key):
        del key
        shapes.append(batch.shape)
        return jnp.mean((model - batch) ** 2)

    how = {"optimizer": optax.sgd(0.0), "steps": 1, "key": KEY, "job": QUIET, "batch_size": 5}
    _, history = fit(loss, jnp.zeros(()), held[:10], held=held, **how)
    np.testing.assert_allclose(history["validation"], np.mean(np.asarray(held) ** 2))
    assert set(shapes) == {(5,), (3,)}


def test_a_rehearsal_fits_nothing():
    job = QUIET._replace(rehearsal=True)
    how = {"optimizer": optax.sgd(0.1), "steps": 5, "key": KEY, "job": job}
    model, history = fit(square, jnp.ones(2), jnp.zeros((3, 2)), **how)
    np.testing.assert_array_equal(model, 1.0)
    assert not len(history["loss"])
