import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import Reference

import jaxchem
from jaxchem import CRNN, Integrator, NeuralODE, checkpoint
from jaxchem.models import About
from jaxchem.parse import table
from jaxchem.train import trainable

POOLED = """name = pooled
title = with a pool, an ion, fractional yields
units = cm-3, s
[species]
A = C2H4
B
H+
e-
D = ?
[pools]
P = A + B
[sources]
S1 = Nobody (1900)
[reactions]
A + B -> 0.5 A + H+ + e- ; 2 * arrhenius(1e-3, 20) * P ; S1
2 B -> 0.3333333333333333 D ; kooij(1e-10, 0.5, 10) ; S1
H+ + e- -> D ; 3 ; S1
"""


@pytest.fixture(scope="module")
def robertson():
    return jaxchem.load("robertson")


def crnn(network, **settings):
    return CRNN(network, jnp.log(network.rates()), **settings)


def neural(key, size=3, **settings):
    return NeuralODE(About(tuple("abcd"[:size])), width=8, depth=1, key=key, **settings)


# The reaction network


def test_crnn_is_mass_action(robertson, getkey):
    reference = Reference.read("robertson")
    log_k = jax.random.normal(getkey(), (3,))
    y = jax.random.uniform(getkey(), (3,))
    model = CRNN(robertson, log_k)
    expected = reference.tendency(np.exp(np.asarray(log_k)), np.asarray(y))
    np.testing.assert_allclose(model.field(0.0, y), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.k, np.exp(log_k), rtol=1e-15)


def test_crnn_call_is_a_solve(robertson):
    integrator = Integrator(method="kvaerno3", rtol=1e-7)
    y0, ts = robertson.y0({"A": 1.0}), jnp.array([1.0, 100.0])
    model = crnn(robertson, integrator=integrator)
    solved = jaxchem.solve(
        robertson, robertson.rates(), y0, ts + 0.5, t0=0.5, integrator=integrator
    )
    np.testing.assert_allclose(model(y0, None, ts), solved.ys, rtol=1e-9)
    with pytest.raises(ValueError, match="'temperature' is none of them"):
        model(y0, {"temperature": 1.0}, ts)


def test_crnn_may_be_made_from_traced_coefficients(robertson):
    y = jnp.array([0.9, 1e-4, 0.1])
    log_k = jnp.log(robertson.rates())
    slopes = jax.jit(jax.jacfwd(lambda log_k: CRNN(robertson, log_k).field(0.0, y)))(log_k)
    fluxes = np.array([0.04 * 0.9, 3e7 * 1e-8, 1e4 * 1e-4 * 0.1])
    np.testing.assert_allclose(slopes, robertson.stoichiometry * fluxes, rtol=1e-12)
    known = np.array([True, False, False])
    with pytest.raises(ValueError, match="make the model outside of jit and grad"):
        jax.jit(lambda log_k: CRNN(robertson, log_k, known=known).k)(log_k)


def test_a_failed_call_is_not_finite_and_does_not_raise(robertson):
    model = crnn(robertson, integrator=Integrator(max_steps=4))
    predicted = model(robertson.y0({"A": 1.0}), None, jnp.array([1e5]))
    assert not np.any(np.isfinite(predicted))


def test_given_coefficients_have_no_gradient_and_hold_their_value(robertson):
    known = np.array([False, True, False])
    model = crnn(robertson, known=known)
    y = jnp.array([0.9, 1e-4, 0.1])
    slope = eqx.filter_grad(lambda m: jnp.sum(m.field(0.0, y) ** 2))(model)
    assert float(slope.log_k[1]) == 0.0
    assert np.all(np.asarray(slope.log_k)[~known] != 0.0)
    moved = eqx.tree_at(lambda m: m.log_k, model, model.log_k + 5.0)
    np.testing.assert_allclose(moved.k[1], 3e7, rtol=1e-14)
    np.testing.assert_allclose(moved.k[0] / 0.04, np.exp(5.0), rtol=1e-13)
    trained = jax.tree.leaves(eqx.filter(model, trainable))
    assert len(trained) == 1 and trained[0] is model.log_k


def test_random_start_keeps_what_is_given(getkey):
    network = jaxchem.load("pollu")
    k = np.asarray(network.rates())
    known = np.arange(25) % 5 == 0
    y0 = jaxchem.sample(network, {"NO": 0.2})
    data = jaxchem.observe(jaxchem.to_dataset(network, ([0.0], y0[None]), y0=y0), network)
    model = CRNN.fitted(data, known=range(0, 25, 5), key=getkey())
    np.testing.assert_allclose(model.k[known], k[known], rtol=1e-14)
    free = np.asarray(model.effective_log_k)[~known]
    assert np.all(np.abs(free - np.log(k[~known])) > 1e-6)
    assert abs(free.mean()) < 1.0 and 0.5 < free.std() < 1.5
    other = CRNN.fitted(data, key=getkey())
    assert not np.any(other.known)
    assert np.all(other.log_k != model.log_k)


# The neural ODE


def test_neural_ode_scales_states_and_tendencies(getkey):
    ts = jnp.array([2.0, 3.0, 6.0])
    states = jnp.array([[[1.0, 1e-6, 5.0], [3.0, 2e-6, 5.0], [2.0, 5e-6, 5.0]]])
    plain = neural(getkey())
    model = plain.scaled_to(ts, states)
    np.testing.assert_array_equal(model.low, [1.0, 1e-6, 5.0])
    np.testing.assert_allclose(model.scale, [2.0, 4e-6, 5.0])
    np.testing.assert_allclose(model.slope, np.array([2.0, 4e-6, 5.0]) / 4.0)
    y = jnp.array([2.0, 3e-6, 5.0])
    expected = np.asarray(plain.mlp(jnp.array([0.5, 0.5, 0.0]))) * np.asarray(model.slope)
    np.testing.assert_allclose(model.field(0.0, y), expected, rtol=1e-12)
    np.testing.assert_array_equal(plain.low, 0.0)


def test_only_the_weights_of_a_neural_ode_are_trained(getkey):
    model = neural(getkey()).scaled_to(jnp.array([0.0, 1.0]), jnp.ones((1, 2, 3)))
    trained = jax.tree.leaves(eqx.filter(model, trainable))
    weights = jax.tree.leaves(eqx.filter(model.mlp, eqx.is_array))
    assert [a.shape for a in trained] == [a.shape for a in weights]


def test_neural_ode_call_solves_its_field(getkey):
    """A field made linear, -y, decays exponentially."""
    model = neural(getkey(), activation="identity")
    first, last = model.mlp.layers
    pad = np.eye(8, 3)
    model = eqx.tree_at(
        lambda m: [getattr(a, n) for a in m.mlp.layers for n in ("weight", "bias")],
        model,
        [jnp.asarray(pad), 0.0 * first.bias, jnp.asarray(-pad.T), 0.0 * last.bias],
    )
    y0, ts = jnp.array([1.0, 2.0, 0.5]), jnp.array([1.5, 3.0])
    model = eqx.tree_at(lambda m: m.integrator, model, Integrator(rtol=1e-8))
    predicted = model(y0, None, ts - 1.0)
    expected = np.asarray(y0) * np.exp(-(np.asarray(ts)[:, None] - 1.0))
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


def test_unknown_activation(getkey):
    for name in ("reluu", "__doc__"):
        with pytest.raises(ValueError, match=f"unknown activation '{name}'; name one of jax.nn"):
            neural(getkey(), activation=name)


@pytest.mark.parametrize("kind", ["crnn", pytest.param("neural", marks=pytest.mark.slow)])
def test_models_under_jit_vmap_and_grad(robertson, getkey, kind):
    how = Integrator(method="kvaerno3", rtol=1e-5)
    model = crnn(robertson, integrator=how) if kind == "crnn" else neural(getkey(), integrator=how)
    y0 = jnp.array([[1.0, 0.0, 0.0], [0.5, 1e-5, 0.2]])
    ts = jnp.array([0.1, 0.3])
    batch = eqx.filter_jit(eqx.filter_vmap(lambda m, y: m(y, None, ts), in_axes=(None, 0)))
    predicted = batch(model, y0)
    assert predicted.shape == (2, 2, 3)
    for row, start in zip(predicted, y0, strict=True):
        np.testing.assert_allclose(row, model(start, None, ts), rtol=1e-8, atol=1e-14)
    slope = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(m(y0[0], None, ts)[:, 0])))(model)
    leaves = jax.tree.leaves(slope)
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    assert any(np.any(leaf != 0) for leaf in leaves)


# Files


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if isinstance(left, np.ndarray | jax.Array):
            assert type(left) is type(right)
            assert left.dtype == right.dtype
            assert np.asarray(left).tobytes() == np.asarray(right).tobytes()
        else:
            assert left == right


def written(path, model, **header):
    jaxchem.save(path, model, **header)
    return jaxchem.load_model(path)


@pytest.mark.parametrize("name", ["robertson", "pollu", "aoxid", "osu29"])
def test_crnn_of_every_kind_of_network_round_trips(name, tmp_path, getkey):
    network = jaxchem.load(name)
    known = np.arange(len(network.equations)) % 3 == 0
    log_k = 30.0 * jax.random.normal(getkey(), known.shape)
    model = CRNN(network, log_k, known=known)
    back = written(tmp_path / "model.eqx", model)
    assert_same(back, model)
    np.testing.assert_array_equal(back.k, model.k)


def test_crnn_with_pools_round_trips(tmp_path, getkey):
    network = table.loads(POOLED)
    integrator = Integrator(
        rtol=3e-5,
        atol=[1e-3, 2e-3, 3e-3, 4e-3, 0.1],
        dt0=1e-9,
        method="kvaerno3",
        max_steps=77,
        root_finder="newton",
        output="interpolate",
    )
    model = CRNN(network, jnp.array([0.1, -20.0, 3.0]), integrator=integrator)
    back = written(tmp_path / "model.eqx", model)
    assert_same(back, model)
    assert back.network.species == network.species
    assert back.network.structure == network.structure
    y = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(back.field(0.0, y), model.field(0.0, y))


@pytest.mark.parametrize("activation", ["gelu", "relu", "tanh", "silu", "softplus"])
def test_neural_ode_round_trips(tmp_path, getkey, activation):
    about = About(tuple("abcd"), units=jaxchem.Units("ppm", "min"), start=2.0)
    model = NeuralODE(about, width=6, depth=3, activation=activation, key=getkey())
    model = model.scaled_to(jnp.array([0.0, 2.0]), jax.random.uniform(getkey(), (2, 2, 4)))
    back = written(tmp_path / "model.eqx", model)
    assert_same(back, model)
    y = jnp.array([0.3, 0.2, 0.1, 0.4])
    np.testing.assert_array_equal(back.field(0.0, y), model.field(0.0, y))


def test_the_header_keeps_what_is_given(tmp_path, robertson):
    jaxchem.save(tmp_path / "model.eqx", crnn(robertson), fingerprint="abc", deviation=[0.1, 0.2])
    header = checkpoint.read_header(tmp_path / "model.eqx")
    assert header["fingerprint"] == "abc"
    assert header["deviation"] == [0.1, 0.2]
    assert header["model"]["class"] == "jaxchem.models.crnn:CRNN"
    assert header["about"]["states"] == ["A", "B", "C"]


def test_what_is_no_model_is_not_saved(tmp_path, getkey):
    class Other(eqx.Module):
        integrator: Integrator

    for thing, name in ((Other(Integrator()), "Other"), ({"k": jnp.ones(3)}, "dict")):
        with pytest.raises(ValueError, match=f"cannot save a {name}: it is no AbstractEmulator"):
            jaxchem.save(tmp_path / "model.eqx", thing)
    assert not list(tmp_path.iterdir())


def test_load_model_tells_what_is_wrong(tmp_path, robertson):
    path = tmp_path / "model.eqx"
    with pytest.raises(ValueError, match=r"no checkpoint at .*model.eqx"):
        jaxchem.load_model(path)
    path.write_text("random text")
    with pytest.raises(ValueError, match=r"model.eqx is not a jaxchem checkpoint"):
        jaxchem.load_model(path)
    checkpoint.save(path, jnp.ones(3), kind="fit")
    with pytest.raises(ValueError, match=r"model.eqx is a 'fit' checkpoint, not a saved model"):
        jaxchem.load_model(path)
    checkpoint.save(path, jnp.ones(3))
    with pytest.raises(ValueError, match=r"model.eqx is a None checkpoint, not a saved model"):
        jaxchem.load_model(path)
    jaxchem.save(path, crnn(robertson))
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(ValueError, match=r"model.eqx is truncated"):
        jaxchem.load_model(path)
    path.write_bytes(whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:])
    with pytest.raises(ValueError, match=r"model.eqx is damaged"):
        jaxchem.load_model(path)


def test_load_model_refuses_what_it_does_not_know(tmp_path, robertson):
    """Whatever a header says ends in one sentence, and nothing is imported or called for it."""
    path = tmp_path / "m.eqx"
    deep: dict = {"tuple": []}
    for _ in range(250):
        deep = {"tuple": [deep]}
    strange = {"class": "jaxchem.models.crnn:CRNN", "fields": {"gone": 1}}
    for told, word in (
        (
            {"class": "gru.cells:GRU", "fields": {}},
            r"gru\.cells:GRU, and gru\.cells is not trusted",
        ),
        ({"class": "jaxchem.models:GRU", "fields": {}}, "jaxchem.models has no GRU"),
        ({"class": "subprocess:Popen", "fields": {}}, "subprocess is not trusted"),
        ({"class": "jaxchem.models.files:sys.modules"}, "has no sys.modules"),
        ({"function": "os:system"}, "os is not trusted"),
        ({"function": "builtins:eval"}, "builtins is not trusted"),
        ({"function": "jaxchem.solvers.build:_run"}, "_run is a function of another package"),
        ({"function": "jaxchem:write"}, "jaxchem:write is a function of another package"),
        ({"function": "jax.numpy:save"}, "jax.numpy:save reads or writes files"),
        ({"function": "jaxchem.checkpoint:os.system"}, "has no os.system"),
        ({"function": "numpy:savetxt"}, "numpy is not trusted"),
        ({"class": "equinox:Partial", "fields": {}}, "equinox:Partial is no class of a model"),
        ({"named": "builtins:tuple", "fields": {"a": 1}}, "builtins is not trusted"),
        (strange, "field .* of jaxchem.models.crnn:CRNN is only in"),
        ({"jax": "x"}, "its header is not that of a model"),
        ({}, "is told by nothing"),
        (deep, "something else than expected|not that of a model"),
    ):
        checkpoint.save(path, jnp.ones(3), kind="model", model=told)
        with pytest.raises(ValueError, match=rf"m\.eqx.*{word}|{word}"):
            jaxchem.load_model(path)
    checkpoint.save(path, jnp.ones(3), kind="model")
    with pytest.raises(ValueError, match="its header is not that of a model"):
        jaxchem.load_model(path)
