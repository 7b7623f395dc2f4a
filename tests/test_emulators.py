"""Emulators: their forms, their training, their files."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from problems import QUIET, Reference, clouds
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem.dataset import given, observe, read, write
from jaxchem.ensemble import generate_ensemble
from jaxchem.metrics import emulation_scores
from jaxchem.models import About, FlowMap, Function, Latent, StepMap, conserved, rollout
from jaxchem.models.layers import Perceptron
from jaxchem.models.step_map import _shifted
from jaxchem.scale import LinearScale, LinearTime, LogScale, LogTime
from jaxchem.stages import emulate, evaluate
from jaxchem.stages.evaluate import gradient_scores

FORMS = {
    "linear": {},
    "slopes": {"slopes": "state", "warp": 3, "decoder": (8, 8), "squash": False},
    "polynomial": {"dynamics": "polynomial", "degree": 3},
    "neural_ode": {"dynamics": "neural_ode", "ode": (8, 8)},
}
SMALL = {"latent": 3, "coder": (8, 4)}


@pytest.fixture(scope="module")
def dark():
    """Dark clouds of varied carbon and temperature, as a dataset."""
    network = jaxchem.load("osu29")
    y0, conditions = clouds(network, cases=48, temperature=(20.0, 100.0))
    ts = np.geomspace(1e3, 1e13, 12)
    dataset, failed = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    assert not len(failed)
    return network, dataset


def parts(data):
    return data.y0, data.conditions, data.ts - data.t0, data.states


def about(states, conditions=""):
    """Names of one letter each."""
    return About(tuple(states), tuple(conditions))


# Data


# what is drawn is in test_design.py


def test_trajectories_have_their_own_conditions(dark):
    """One cell against SciPy with the rates of its temperature."""
    network, dataset = dark
    case = 7
    assert list(dataset["condition"].values) == ["temperature"]  # the others are all alike
    temperature = dataset["given"].values[case, 0]
    k = np.asarray(network.rates(temperature=temperature, cosmic_ray_rate=1e-16))
    reference, ts = Reference.read("osu29"), dataset["time"].values
    found = solve_ivp(
        lambda t, y: reference.tendency(k, y),
        (1.0, ts[5]),
        dataset["initial"].values[case],
        "LSODA",
        rtol=1e-8,
        atol=1e-18,
    )
    ours = dataset["concentration"].values[case, 5]
    above = ours > 1e-10
    np.testing.assert_allclose(ours[above], found.y[above, -1], rtol=1e-4)


def test_trajectories_through_a_store(dark, tmp_path):
    """Kept chunk by chunk, they are the same, and a second run takes them up."""
    network, dataset = dark
    y0, conditions = clouds(network, cases=48, temperature=(20.0, 100.0))
    how = {"t0": 1.0, "store": tmp_path / "store", "chunk": 20, "progress": False}
    before = None
    for _ in range(2):
        again, failed = generate_ensemble(network, y0, conditions, dataset["time"].values, **how)
        assert not len(failed)
        xr.testing.assert_identical(again, dataset)
        written = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").glob("*.nc")}
        assert len(written) == 3 and before in (None, written)
        before = written


def test_conditions_go_through_files(dark, tmp_path):
    network, dataset = dark
    write(dataset, tmp_path / "data.nc")
    again = read(tmp_path / "data.nc", network)
    np.testing.assert_array_equal(given(again), given(dataset))
    assert given(again).shape == (48, 1)


# Forms


@pytest.mark.parametrize("form", FORMS)
def test_latent_emulators(form, dark, tmp_path, getkey):
    """Shape, precision, jit and vmap, and the same after a round trip through a file."""
    network, dataset = dark
    data = observe(dataset, network)
    y0, conditions, ts, _ = parts(data)
    model = Latent.fitted(data, key=getkey(), **SMALL, **FORMS[form])
    one = model(y0[0], conditions[0], ts)
    assert one.shape == (12, 29) and one.dtype == jnp.float64 and np.all(one > 0)
    many = jax.jit(jax.vmap(model, in_axes=(0, 0, None)))(y0, conditions, ts)
    np.testing.assert_allclose(many[0], one, rtol=1e-4)
    outside = model(y0[0], conditions[0], jnp.array([0.0, *ts[::11], 10 * ts[-1]]))
    np.testing.assert_allclose(outside[1], one[0], rtol=1e-4)
    np.testing.assert_array_equal(outside[0], outside[1])
    np.testing.assert_array_equal(outside[3], outside[2])
    jaxchem.save(tmp_path / "model.eqx", model)
    again = jaxchem.load_model(tmp_path / "model.eqx")
    np.testing.assert_array_equal(again(y0[0], conditions[0], ts), one)


def test_published_size(getkey):
    """9447 parameters, as the paper's latent linear model."""
    leaves = jax.tree.leaves(
        eqx.filter(
            Latent(about("abcdefghijklmnopqrstuvwxyzABC"), key=getkey()), eqx.is_inexact_array
        )
    )
    assert sum(leaf.size for leaf in leaves if isinstance(leaf, jax.Array)) == 9447


def test_straight_lines_and_polynomials(getkey):
    """z - z0 is c tau, and a1 tau + a2 tau^2 + ..."""
    tau, x, none = jnp.array([0.0, 0.25, 1.0]), jnp.linspace(-1, 1, 4), jnp.zeros(0)
    for settings in ({}, {"dynamics": "polynomial", "degree": 4}):
        model = Latent(about("abcd"), **SMALL, **settings, key=getkey())
        z = np.asarray(model.evolve(x, none, tau), dtype=float)
        rates = np.asarray(model.rates, dtype=float)
        powers = np.asarray(tau)[:, None] ** np.arange(1, len(rates) + 1)
        np.testing.assert_allclose(z - z[0], powers @ rates, atol=1e-6)


def test_latent_equation_against_scipy(getkey):
    model = Latent(about("abcd"), **SMALL, **FORMS["neural_ode"], key=getkey())
    x, none, tau = jnp.linspace(-1, 1, 4), jnp.zeros(0), jnp.array([0.0, 0.33, 1.0])
    z = np.asarray(model.evolve(x, none, tau))

    def field(t, z):
        return np.tanh(np.asarray(model.rates(jnp.asarray(z))) / 1.0)

    found = solve_ivp(field, (0.0, 1.0), z[0], t_eval=np.asarray(tau), rtol=1e-8, atol=1e-10)
    assert np.abs(z[-1] - z[0]).max() > 1e-2
    np.testing.assert_allclose(z, found.y.T, atol=1e-5)


def test_learned_time_rises_from_zero(getkey):
    model = Latent(about("abcd"), **SMALL, warp=5, slopes="state", key=getkey())
    times = jax.vmap(model.warp)(jnp.linspace(0, 1, 50, dtype=jnp.float32))
    np.testing.assert_allclose(times[0], 0, atol=1e-7)
    assert np.all(np.diff(times, axis=0) > 0)


def test_flow_map_reproduces_what_it_holds(dark, getkey):
    """With all modes and perfect coefficients, trajectories and their cubics in log time."""
    network, dataset = dark
    data = observe(dataset, network)
    y0, conditions, _, states = parts(data)
    ts, t0 = data.ts, data.t0
    model = FlowMap.fitted(data, key=getkey(), modes=48, width=8, depth=1)
    wanted = model.examples(data).wanted[5]

    class Perfect(eqx.Module):
        def __call__(self, x):
            return wanted

    model = eqx.tree_at(lambda m: m.mlp, model, Perfect())
    np.testing.assert_allclose(model(y0[5], conditions[5], ts - t0), states[5], rtol=2e-5)
    fields = np.log10(states[5])
    middle = jnp.sqrt(ts[4:6].prod())[None]
    cubic = fields[3:7].T @ np.array([-1, 9, 9, -1]) / 16
    np.testing.assert_allclose(
        np.log10(model(y0[5], conditions[5], middle - t0))[0], cubic, atol=1e-5
    )
    step = ts[-1] / ts[-2]
    late = model(
        *(y0[5], conditions[5]),
        jnp.asarray(float(ts[-1]) * float(step) ** np.array([1.0, 1.5, 8.0])) - t0,
    )
    cubic = fields[-4:].T @ np.array([-1, 4, -6, 4])
    np.testing.assert_allclose(np.log10(late), np.tile(cubic, (3, 1)), atol=1e-4)
    early = model(
        *(y0[5], conditions[5]),
        jnp.asarray(float(ts[0]) / float(step) ** np.array([1.0, 3.0])) - t0,
    )
    np.testing.assert_array_equal(early[0], early[1])


@pytest.mark.parametrize("given", [(), (50.0,)])
def test_conditions_that_are_missing_are_told(given, getkey):
    """An index out of range, or a shape to broadcast, would pass in silence."""
    draws, ts = np.random.default_rng(0), np.geomspace(1.0, 1e3, 5)
    y0, conditions = 10.0 ** draws.uniform(-3, 0, (20, 3)), draws.uniform(1, 9, (20, 2))
    ys = np.repeat(y0[:, None], 5, axis=1)
    names = about("abc", "TZ")
    flow = FlowMap.of_arrays(names, y0, conditions, ts, ys, modes=4, key=getkey())
    few = jnp.asarray(y0[0]), jnp.asarray(given), jnp.asarray(ts)
    for model in (flow, Latent(names, key=getkey(), **SMALL)):
        with pytest.raises(ValueError, match=r"takes the 2 conditions T, Z but got .* shape"):
            model(*few)
        with pytest.raises(ValueError, match=r"'Z' is missing; did you mean 'z'"):
            model(few[0], {"T": 1.0, "z": 1.0}, few[2])
        np.testing.assert_array_equal(
            model(few[0], {"Z": 2.0, "T": 1.0}, few[2]),
            model(few[0], jnp.array([1.0, 2.0]), few[2]),
        )


def test_the_floor_of_concentrations_is_none_of_conditions(getkey):
    """Cosmic-ray rates are far below what counts as a concentration."""
    draws, ts = np.random.default_rng(0), np.geomspace(1.0, 1e3, 5)
    y0, rates = 10.0 ** draws.uniform(-3, 0, (20, 3)), 10.0 ** draws.uniform(-17, -15, (20, 1))
    ys = np.repeat(y0[:, None], 5, axis=1)
    model = FlowMap.of_arrays(
        about("abc", "Z"), y0, rates, ts, ys, modes=4, floor=1e-12, key=getkey()
    )
    assert model.chosen.tolist() == [0, 1, 2, 3]
    inputs = model.inputs(jnp.asarray(y0), jnp.asarray(rates))
    np.testing.assert_allclose(np.std(inputs, axis=0), np.ones(4), rtol=1e-9)


def test_scales_go_back():
    ys = np.abs(np.random.default_rng(0).standard_normal((3, 5, 4))) + 1e-9
    for kind in (LogScale, LinearScale):
        for per_species in (True, False):
            scale = kind.of(ys, per_species=per_species)
            scaled = scale.forward(jnp.asarray(ys))
            np.testing.assert_allclose([scaled.min(), scaled.max()], [-1, 1])
            np.testing.assert_allclose(scale.backward(scaled), ys, rtol=1e-6)
    ts = jnp.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(LogTime.of(ts)(ts), [0, 0.5, 1], atol=1e-12)
    np.testing.assert_allclose(LinearTime.of(ts)(ts), [0, 1 / 11, 1], atol=1e-12)
    with pytest.raises(ValueError, match="0, which has no logarithm"):
        LogTime.of([0.0, 1.0])
    with pytest.raises(ValueError, match="1 output time: a model learns from two"):
        LinearTime.of([1.0])


# Restarts


@pytest.fixture(scope="module")
def stepper(dark):
    """A step map with random weights, and what it was made for."""
    network, dataset = dark
    data = observe(dataset, network)
    settings = {"modes": 20, "width": 16, "depth": 2, "starts": 6}
    return StepMap.fitted(data, key=jax.random.key(3), **settings), data


def test_shifted_power_laws():
    """What follows a state of y = a t^p is known at any later time; after the last it stays."""
    elapsed = np.concatenate([[0.0], np.geomspace(3.0, 3e4, 12)])
    a, p = np.array([1e-9, 2.0, 5e3]), np.array([2.0, -0.5, 1.0])
    ys = a * elapsed[1:, None] ** p
    y0, grid = np.array([0.0, 7.0, 0.0]), np.geomspace(0.1, 3e4, 9)
    states, fields, whose = _shifted(np.stack([y0, y0]), np.stack([ys, ys]), elapsed, grid, 10, 0.0)
    assert states.shape == (20, 3) and list(whose) == [0] * 10 + [1] * 10
    for state, field in zip(states, fields, strict=True):
        begin = 0.0 if state[2] == 0 else state[2] / a[2]
        time = np.minimum(begin + grid, elapsed[-1])[:, None]
        np.testing.assert_allclose(field, a * time**p, rtol=1e-9)
    assert np.sum(states[:, 2] == 0) == 2
    assert len(np.unique(states[:10], axis=0)) == 10 and states[:, 2].max() < ys[-1, 2]


def test_a_step_map_reproduces_what_it_holds(stepper):
    """With perfect coefficients of all modes: from a later state, and the linear start."""
    _, data = stepper
    data = data.first(4)
    few = data.y0, data.conditions, data.ts, data.states
    model = StepMap.fitted(data, starts=12, modes=48, key=jax.random.key(0))
    examples, scale = model.examples(data), model.flow.time_scale
    grid = np.logspace(scale.low, scale.high, 12)
    assert examples.inputs.shape == (48, model.flow.mlp.layers[0][0].shape[1])
    states, fields, whose = _shifted(
        np.asarray(few[0]), np.asarray(few[3]), np.append(0.0, few[2] - 1.0), grid, 12, 1e-99
    )
    row = 17  # a later state of the second cloud

    class Perfect(eqx.Module):
        def __call__(self, x):
            np.testing.assert_allclose(x, examples.inputs[row], rtol=1e-5, atol=1e-5)
            return examples.wanted[row]

    model = eqx.tree_at(lambda m: m.flow.mlp, model, Perfect())
    given = jnp.asarray(few[1][whose[row]])
    found = model(jnp.asarray(states[row]), given, jnp.asarray(grid))
    np.testing.assert_allclose(found, fields[row], rtol=1e-4)
    begin = model(jnp.asarray(states[row]), given, jnp.array([0.0, 0.25 * grid[0]]))
    np.testing.assert_array_equal(begin[0], states[row])
    np.testing.assert_allclose(begin[1], 0.75 * states[row] + 0.25 * found[0], rtol=1e-12)


def test_step_map_calls(stepper, tmp_path):
    """Jit and vmap, derivatives, and the same after a round trip through a file."""
    model, data = stepper
    y0, conditions, ts, states = parts(data)
    one = model(states[0, 4], conditions[0], ts)
    assert one.shape == (12, 29) and one.dtype == jnp.float64 and np.all(one > 0)
    many = jax.jit(jax.vmap(model, in_axes=(0, 0, None)))(states[:, 4], conditions, ts)
    np.testing.assert_allclose(many[0], one, rtol=1e-4)
    jaxchem.save(tmp_path / "model.eqx", model)
    again = jaxchem.load_model(tmp_path / "model.eqx")
    np.testing.assert_array_equal(again(states[0, 4], conditions[0], ts), one)
    assert again.about == model.about and again.about.start == 1.0 and again.starts == 6

    def total(y0, ts):  # from zeros, and at a time of zero
        return jnp.sum(jnp.log(rollout(model, y0, conditions[0], ts, 3)[1:] + 1e-30))

    for slope in jax.grad(total, (0, 1))(y0[0], jnp.append(0.0, ts)):
        assert np.all(np.isfinite(slope)) and np.any(slope != 0)


@pytest.mark.parametrize("segments", [1, 5])
def test_chains(stepper, dark, segments):
    """Segments are calls from the last state of the one before, at times since then."""
    network, _ = dark
    model, data = conserved(stepper[0], network), stepper[1]
    y0, conditions, elapsed, _ = parts(data)
    chained = jax.jit(functools.partial(rollout, model, segments=segments))
    found = chained(y0[5], conditions[5], elapsed)
    for told in (jnp.tile(conditions[5:6], (segments, 1)), conditions[:segments]):  # of each piece
        state, origin, by_hand = y0[5], 0.0, []
        for own, piece in zip(told, np.array_split(np.asarray(elapsed), segments), strict=True):
            ys = model(state, own, jnp.asarray(piece - origin))
            state, origin = ys[-1], piece[-1]
            by_hand.append(ys)
        chain = chained(y0[5], told, elapsed)
        np.testing.assert_allclose(chain, np.concatenate(by_hand), rtol=2e-3)
        same = bool(jnp.all(told == conditions[5][None]))
        assert np.allclose(found, chain, rtol=1e-6) == same
    with pytest.raises(ValueError, match=f"conditions of 7 pieces for {segments} segments"):
        chained(y0[5], conditions[:7], elapsed)
    weights = np.asarray(network.conserved).T
    drift = (found - y0[5][None]) @ weights / (y0[5] @ np.abs(weights))[None]
    assert np.abs(drift).max() < 1e-11
    many = jax.vmap(chained, in_axes=(0, 0, None))(y0, conditions, elapsed)
    assert many.shape == (48, 12, 29)


def test_scores_of_a_chain(stepper, dark):
    """Of elapsed times; a chain of ten segments beside one shot."""
    network, _ = dark
    model, data = conserved(stepper[0], network), stepper[1]
    # a start late enough for its share in the first times to be told
    data = eqx.tree_at(lambda d: d.t0, data, jnp.asarray(900.0))
    y0, conditions, ts, states = parts(data)
    scores, prediction, _ = evaluate(model, data.first(3), train=data)
    shot = jax.vmap(model, in_axes=(0, 0, None))(y0[:3], conditions[:3], ts)
    np.testing.assert_allclose(prediction, shot, rtol=2e-3)
    chain = functools.partial(rollout, model, segments=10)
    chain = jax.vmap(chain, in_axes=(0, 0, None))(y0[:3], conditions[:3], ts)
    error = np.mean(np.abs(np.log10(chain) - np.log10(states[:3])))
    np.testing.assert_allclose(scores["rollout/mean_dex"], error, rtol=1e-3)
    np.testing.assert_allclose(
        scores["rollout/growth"], scores["rollout/mean_dex"] / scores["mean_dex"]
    )
    assert scores["rollout/drift"] < 1e-11 and scores["rollout/growth"] != 1


# Training


@pytest.mark.parametrize(
    "start",
    [
        functools.partial(FlowMap.fitted, modes=20, width=32),
        pytest.param(
            functools.partial(StepMap.fitted, modes=20, width=32, starts=6), marks=pytest.mark.slow
        ),
        pytest.param(
            functools.partial(
                Latent.fitted,
                per_species=True,
                slopes="state",
                decoder=(32, 32),
                activation="silu",
                squash=False,
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_training_beats_the_mean(start, dark, getkey):
    """On cells that were not trained on; a file keeps the trained model."""
    network, dataset = dark
    data = observe(dataset.isel(case=slice(8, None)), network)
    test = dataset.isel(case=slice(8))
    points = 6 if start.func == Latent.fitted else None
    result = emulate(
        None,
        data,
        getkey(),
        start=start,
        steps=600,
        points=points,
        job=QUIET,
    )
    scores, prediction, _ = evaluate(result.model, observe(test, network), train=data)
    assert result.history["loss"][-50:].mean() < 0.3 * result.history["loss"][:20].mean()
    assert scores["mean_dex"] < 0.9 * scores["train_mean/mean_dex"]
    assert prediction.shape == test["concentration"].shape


@pytest.mark.slow
def test_latent_equation_trains_on_some_of_the_times(dark, getkey):
    network, dataset = dark
    data = observe(dataset, network)
    start = functools.partial(Latent.fitted, **SMALL, **FORMS["neural_ode"])
    settings = {"start": start, "steps": 60, "points": 6, "optimizer": "adam", "job": QUIET}
    loss = emulate(None, data, getkey(), **settings).history["loss"]
    assert np.all(np.isfinite(loss)) and loss[-10:].mean() < loss[:10].mean()


def test_polishing_what_was_trained(dark, getkey):
    """A second stage by L-BFGS over all examples goes on from the first, inside of its wrap."""
    network, dataset = dark
    data = observe(dataset, network)
    start = functools.partial(FlowMap.fitted, modes=20, width=16)
    settings = {"conserve": True, "optimizer": "adam", "job": QUIET}
    first = emulate(None, data, getkey(), start=start, steps=100, **settings)
    settings |= {"optimizer": "lbfgs", "batch_size": None, "steps": 20}
    second = emulate(first.model, data, getkey(), **settings)
    loss = second.history["loss"]
    assert loss[0] < 1.2 * first.history["loss"][-1] and loss[-1] < 0.5 * loss[0]
    assert isinstance(second.model.inner, FlowMap)


def test_validation_holds_trajectories_back(dark, getkey):
    network, dataset = dark
    data = observe(dataset, network)
    start = functools.partial(FlowMap.fitted, modes=20, width=8)
    settings = {"start": start, "optimizer": "adam", "job": QUIET}
    key = getkey()
    history = emulate(None, data, key, steps=30, validation=0.25, **settings).history
    assert np.all(np.isfinite(history["validation"]))
    with pytest.raises(ValueError, match=r"validation=0\.001 of 48 trajectories leaves none"):
        emulate(None, data, key, validation=0.001, **settings)
    with pytest.raises(ValueError, match=r"patience=3 waits .* set validation too"):
        emulate(None, data, key, patience=3, **settings)


@pytest.mark.parametrize("make", [FlowMap.fitted, StepMap.fitted])
def test_whole_trajectories_are_held_back(make, dark, monkeypatch, getkey):
    """Also where a model has many examples of each, and from the scales and modes too."""
    network, dataset = dark
    data = observe(dataset, network)
    scaled = []

    def start(data, *, key):
        scaled.append(data)
        return make(data, key=key, modes=20, width=8)

    def fit(loss, model, examples, *, held, **_):
        scaled.append((model, examples, held))
        return model, {}

    monkeypatch.setitem(emulate.__globals__, "fit", fit)
    emulate(None, data, getkey(), start=start, validation=0.25)
    seen, (model, examples, held) = scaled
    order = np.random.default_rng(0).permutation(48)
    np.testing.assert_array_equal(seen.y0, data.y0[order[12:]])
    each = len(examples.inputs) // 36
    assert each * 36 == len(examples.inputs) and each * 12 == len(held.inputs)
    expected = model.examples(data.chosen(order[:12]))
    np.testing.assert_array_equal(held.inputs, expected.inputs)


def test_loss_terms(dark, getkey):
    """The published terms, written out in NumPy."""
    network, dataset = dark
    data = observe(dataset, network).first(5)
    model = Latent.fitted(data, key=getkey(), **SMALL)
    examples = model.examples(data)
    terms = eqx.filter_jit(lambda m, e: m.terms(e, getkey()))(model, examples)
    x = np.asarray(examples.x, dtype=float)
    y = np.asarray(jax.vmap(model, in_axes=(0, 0, None))(*parts(data)[:3]))
    y = np.asarray(model.state_scale.forward(jnp.asarray(y)))
    error = y - x
    masses = np.array(
        [{"CO": 28.010, "H2": 2.016, "C+": 12.0105}.get(s, -1) for s in network.species]
    )
    np.testing.assert_allclose(model.masses[masses > 0], masses[masses > 0], rtol=1e-4)
    expected = {
        "trajectory": np.mean(error**2),
        "first": np.mean(((error[:, 2:] - error[:, :-2]) / 2) ** 2),
        "second": np.mean((error[:, 2:] - 2 * error[:, 1:-1] + error[:, :-2]) ** 2),
        "mass": np.mean(np.abs(error @ model.masses).sum(axis=1)),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-4)
    again = model.decoder(model.encode(examples.x[2, 3], examples.conditions[2]))
    assert terms["identity"] > 0 and again.shape == (29,)


def test_derivatives_beside_the_solver(dark):
    """The solver at tighter tolerance has the solver's; a model that is a constant has none."""
    network, dataset = dark
    test = observe(dataset, network).first(3)

    def again(y0, conditions, ts):
        k = network.rates(temperature=conditions[0], cosmic_ray_rate=1e-16)
        how = {"t0": 0.0, "method": "rodas4", "rtol": 1e-7, "adjoint": "forward"}
        return jaxchem.solve(network, k, y0, ts, **how).ys

    def constant(y0, conditions, ts):
        return jnp.ones((12, 29))

    scores, none = (
        gradient_scores(Function(call, About.of(test)), test, jaxchem.Integrator(), floor=1e-20)
        for call in (again, constant)
    )
    assert scores["gradient/mean"] < 1e-3 and scores["gradient/size"] > 0.1
    assert np.isclose(none["gradient/mean"], none["gradient/size"])
    assert np.isclose(none["gradient/size"], scores["gradient/size"])


def test_derivatives_without_a_forward_mode(dark, getkey):
    """As of a diffrax solve that is made for reverse mode; differences stand in."""
    network, dataset = dark
    data = observe(dataset, network).first(3)
    model = Latent.fitted(data, key=getkey(), **SMALL)
    backward = jax.custom_vjp(lambda *arguments: model(*arguments))
    backward.defvjp(lambda *a: (model(*a), a), lambda a, g: a)

    found = [
        gradient_scores(m, data, jaxchem.Integrator())
        for m in (model, Function(backward, model.about))
    ]
    assert np.isclose(found[0]["gradient/mean"], found[1]["gradient/mean"], rtol=1e-3)


def test_scores_by_hand():
    truth = jnp.zeros((2, 3, 1)) + jnp.array([-4.0, 0.0, 4.0])[None, :, None]
    scores = emulation_scores(truth + 0.4, truth, -4.0, 4.0)
    assert np.isclose(scores["rmse"], 0.1) and np.isclose(scores["max_dex"], 0.4)
    assert np.isclose(scores["median_relative"], 0.1)
    assert np.isclose(scores["mean_log10_relative"], -1.0)


def test_a_conserving_emulator(dark, tmp_path, getkey):
    """One setting wraps it; elements and charge hold to rounding, also after a file."""
    network, dataset = dark
    data = observe(dataset, network)
    start = functools.partial(FlowMap.fitted, modes=20, width=16)
    settings = {"start": start, "steps": 200, "conserve": True, "job": QUIET}
    model = emulate(None, data, getkey(), **settings).model
    jaxchem.save(tmp_path / "model.eqx", model)
    again = jaxchem.load_model(tmp_path / "model.eqx")
    y0, conditions, ts, _ = parts(data)
    ys = np.asarray(jax.vmap(again, in_axes=(0, 0, None))(y0, conditions, ts))
    weights = np.asarray(network.conserved).T
    scale = np.asarray(y0) @ np.abs(weights)
    drift = (ys @ weights - (np.asarray(y0) @ weights)[:, None]) / scale[:, None]
    assert np.abs(drift).max() < 1e-12
    free = np.asarray(jax.vmap(again.inner, in_axes=(0, 0, None))(y0, conditions, ts))
    assert np.abs(free @ weights - (np.asarray(y0) @ weights)[:, None]).max() > 1e-3


# Bad input


def test_bad_emulators(dark, getkey):
    network, dataset = dark
    data = observe(dataset, network)
    with pytest.raises(ValueError, match="unknown dynamics 'cubic'; known: linear"):
        Latent(about("abc"), dynamics="cubic", key=getkey())
    with pytest.raises(ValueError, match="unknown slopes"):
        Latent(about("abc"), slopes="both", key=getkey())
    with pytest.raises(ValueError, match="unknown activation 'silly'"):
        Perceptron((2, 2), activation="silly", key=getkey())
    with pytest.raises(ValueError, match="no loss term 'entropy' of 12 times; known: traj"):
        emulate(None, data, getkey(), start=FlowMap.fitted, weights={"entropy": 1.0})
    with pytest.raises(ValueError, match="trains an emulator but got no model"):
        emulate(None, data, getkey())
    uneven = np.asarray(data.ts) * np.linspace(1, 2, 12)
    with pytest.raises(ValueError, match="evenly spaced in their logarithm"):
        FlowMap.fitted(eqx.tree_at(lambda d: d.ts, data, jnp.asarray(uneven)), key=getkey())
    with pytest.raises(ValueError, match="nothing to emulate"):
        FlowMap.fitted(data.chosen(np.zeros(48, int)), key=getkey())
    with pytest.raises(ValueError, match=r"starts=0: .* as 40"):
        StepMap.fitted(data, key=getkey(), starts=0)
    with pytest.raises(ValueError, match=r"rise from the initial state's, 1e\+09; set data\.t0"):
        late = eqx.tree_at(lambda d: d.t0, data, jnp.asarray(1e9))
        StepMap.fitted(late, key=getkey())
    for segments in (0, 13):
        with pytest.raises(ValueError, match=f"{segments} segments of 12 times: .* lower segments"):
            rollout(None, data.y0[0], data.conditions[0], data.ts, segments)
    with pytest.raises(ValueError, match=r"points=6: a FlowMap learns whole .* points=null"):
        emulate(None, data, getkey(), start=FlowMap.fitted, points=6)
    with pytest.raises(ValueError, match="unknown optimizer 'sgd'"):
        emulate(None, data, getkey(), start=FlowMap.fitted, optimizer="sgd")


def test_retries_of_a_model_that_is_saved(tmp_path, getkey):
    """An integrator with a ladder comes back with it."""
    how = jaxchem.Integrator(rtol=1e-4)
    how = how.replace(retries=jaxchem.ladder(how))
    model = jaxchem.NeuralODE(about("abc"), width=4, depth=1, integrator=how, key=getkey())
    jaxchem.save(tmp_path / "model.eqx", model)
    again = jaxchem.load_model(tmp_path / "model.eqx").integrator
    assert [r.method for r in again.retries] == [r.method for r in how.retries]
