import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import CONDITIONS, INITIAL, SHIPPED, Reference, examples

import jaxchem
from jaxchem.kinetics import flux, jacobian, tendency, turnover
from jaxchem.parse import table

# One of each kind that mass action knows: order 0 to 3, catalysis, fractional yields, a pool.
KINDS = """name = kinds
units = 1, s
[species]
A = ?
B = ?
D = ?
[pools]
P = A + D
W = 2.5 A + -0.5 B
[sources]
S1 = Nobody (1900)
[reactions]
-> A ; 0.5 ; S1
A -> 0.3 B + 0.7 D ; 2 ; S1
2 A -> B ; 3 ; S1
A + 2 B -> 2 A + D ; 5 ; S1
3 D -> ; 7 ; S1
A + B + D -> B ; 11 ; S1
B -> D ; 13 * P ; S1
2 D -> D + A ; 17 * P ; S1
A -> B ; 19 * W ; S1
"""


def states(name: str, count: int) -> np.ndarray:
    """Random states over six decades around the network's own initial scale."""
    rng = np.random.default_rng(7)
    scale = max(INITIAL[name].values())
    return scale * 10.0 ** rng.uniform(-6, 0, (count, len(jaxchem.load(name).species)))


def assert_close(ours, expected, scale, digits=1e-13):
    """Equal to `digits` of `scale`, the sum of what was added up."""
    error = np.abs(np.asarray(ours) - np.asarray(expected))
    assert np.all(error <= digits * np.asarray(scale) + 1e-300), error.max()


def test_gross_production_and_loss_by_hand():
    """By net numbers: B of `2 B -> B + C` and of `B + C -> A + C` is lost once in each."""
    made, lost = turnover(jaxchem.load("robertson"), jnp.array([2.0, 3.0, 5.0]))
    np.testing.assert_array_equal(made, [5.0, 2.0, 3.0])
    np.testing.assert_array_equal(lost, [2.0, 8.0, 0.0])


def test_kinds_by_hand():
    network = table.loads(KINDS)
    a, b, d = 2.0, 3.0, 5.0
    pool = a + d
    rates = [
        0.5,
        2 * a,
        3 * a * a,
        5 * a * b * b,
        7 * d**3,
        11 * a * b * d,
        13 * b * pool,
        17 * d * d * pool,
        19 * a * (2.5 * a - 0.5 * b),
    ]
    y = jnp.array([a, b, d])
    k = network.rates()
    np.testing.assert_allclose(flux(network, k, y), rates, rtol=1e-15)
    r = rates
    change = [
        r[0] - r[1] - 2 * r[2] + r[3] - r[5] + r[7] - r[8],
        0.3 * r[1] + r[2] - 2 * r[3] - r[6] + r[8],
        0.7 * r[1] + r[3] - 3 * r[4] - r[5] + r[6] - r[7],
    ]
    np.testing.assert_allclose(tendency(network, k, y), change, rtol=1e-14)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_against_slow_loop(name):
    network, reference = jaxchem.load(name), Reference.read(name)
    k = np.asarray(network.rates(**CONDITIONS[name]))
    for y in states(name, 3):
        fluxes = np.array(reference.flux(k, y))
        turnover = reference.turnover(k, y)
        np.testing.assert_allclose(flux(network, k, jnp.asarray(y)), fluxes, rtol=1e-14)
        ours = tendency(network, k, jnp.asarray(y))
        assert_close(ours, reference.tendency(k, y), turnover)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_jacobian(name):
    """Against the product rule, reaction by reaction, and against `jax.jacfwd`."""
    network, reference = jaxchem.load(name), Reference.read(name)
    k = np.asarray(network.rates(**CONDITIONS[name]))
    forward = jax.jit(jax.jacfwd(lambda y: tendency(network, k, y)))
    for y in states(name, 3):
        ours = np.asarray(jacobian(network, k, jnp.asarray(y)))
        scale = reference.turnover(k, y)[:, None] / y
        assert_close(ours, reference.jacobian(k, y), scale)
        assert_close(ours, forward(jnp.asarray(y)), scale)
        assert not np.any(ours[~network.pattern()])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_jacobian_against_central_differences(name):
    network, reference = jaxchem.load(name), Reference.read(name)
    k = np.asarray(network.rates(**CONDITIONS[name]))
    (y,) = states(name, 1)
    step = 1e-4 * y
    shifted = jax.vmap(lambda y: tendency(network, k, y))
    both = jnp.asarray(y + np.concatenate([np.diag(step), -np.diag(step)]))
    up, down = np.split(np.asarray(shifted(both)), 2)
    differences = ((up - down) / (2 * step[:, None])).T
    scale = reference.turnover(k, y)[:, None] / y
    assert_close(jacobian(network, k, jnp.asarray(y)), differences, scale, 1e-8)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pattern_is_tight(name):
    """The pattern is what the slow loop's Jacobian shows at random states, no more and no less.

    An entry whose terms cancel at every state (a net change of zero) is in neither.
    """
    network, reference = jaxchem.load(name), Reference.read(name)
    rng = np.random.default_rng(1)
    ones = rng.uniform(1, 2, len(network.species))
    seen = reference.jacobian(rng.uniform(1, 2, len(network.equations)), ones) != 0
    np.testing.assert_array_equal(network.pattern(), seen)


@settings(max_examples=15)
@given(examples(laws=False), st.integers(0, 10**6))
def test_random_networks(example, seed):
    """Flux, tendency, Jacobian and pattern of networks of every kind, k other than the file's."""
    network, reference = table.loads(example.text), example.reference
    rng = np.random.default_rng(seed)
    k = 10.0 ** rng.uniform(-2, 2, len(reference.lines))
    y = 10.0 ** rng.uniform(-2, 1, len(reference.species))
    state = jnp.asarray(y)
    np.testing.assert_allclose(flux(network, k, state), reference.flux(k, y), rtol=1e-14)
    turnover = reference.turnover(k, y)
    assert_close(tendency(network, k, state), reference.tendency(k, y), turnover)
    scale = turnover[:, None] / y
    ours = np.asarray(jacobian(network, k, state))
    expected = reference.jacobian(k, y)
    assert_close(ours, expected, scale)
    assert_close(ours, jax.jacfwd(lambda y: tendency(network, k, y))(state), scale)
    assert np.all(network.pattern() | (expected == 0))


def test_zero_state_is_safe():
    """At zero concentrations nothing is NaN, neither values nor derivatives by y and k."""
    network = table.loads(KINDS)
    k, y = network.rates(), jnp.zeros(3)
    np.testing.assert_array_equal(tendency(network, k, y), [0.5, 0.0, 0.0])
    expected = np.zeros((3, 3))
    expected[:, 0] = [-2.0, 0.6, 1.4]
    np.testing.assert_allclose(jacobian(network, k, y), expected, rtol=1e-15)
    np.testing.assert_allclose(jax.jacrev(tendency, argnums=2)(network, k, y), expected, rtol=1e-15)
    by_rate = jax.jacrev(tendency, argnums=1)(network, k, y)
    np.testing.assert_array_equal(by_rate, np.eye(1, 3 * len(k)).reshape(3, -1))


@pytest.mark.parametrize("name", SHIPPED)
def test_derivative_by_rates(name):
    """The tendency is linear in k: its derivative is stoichiometry times flux per unit rate."""
    network = jaxchem.load(name)
    k = network.rates(**CONDITIONS[name])
    y = jnp.asarray(states(name, 1)[0])
    per_unit = np.asarray(flux(network, jnp.ones_like(k), y))
    expected = network.stoichiometry * per_unit
    for derivative in (jax.jacfwd, jax.jacrev):
        ours = jax.jit(derivative(lambda k: tendency(network, k, y)))(k)
        np.testing.assert_allclose(ours, expected, rtol=1e-13)


@pytest.mark.parametrize("kernel", [flux, tendency, jacobian])
def test_jit_and_vmap(kernel):
    """A batch over states, and one over rates, equals one at a time; so does compiled code."""
    network = table.loads(KINDS)
    rng = np.random.default_rng(3)
    ys, ks = jnp.asarray(rng.uniform(size=(4, 3))), jnp.asarray(rng.uniform(size=(4, 9)))
    batch = jax.jit(jax.vmap(kernel, in_axes=(None, 0, 0)))(network, ks, ys)
    assert batch.dtype == jnp.float64
    for i in range(4):
        np.testing.assert_allclose(batch[i], kernel(network, ks[i], ys[i]), rtol=1e-13)


@pytest.mark.parametrize("kernel", [flux, tendency, jacobian])
@pytest.mark.parametrize("name", SHIPPED)
def test_float32_stays_float32(kernel, name):
    """The state's precision decides, whatever that of k; strict promotion raises otherwise."""
    network = jaxchem.load(name)
    k = network.rates(**CONDITIONS[name])
    (y,) = states(name, 1)
    single = kernel(network, k, jnp.asarray(y, jnp.float32))
    assert single.dtype == jnp.float32
    double = np.asarray(kernel(network, k, jnp.asarray(y)))
    assert kernel(network, k.astype(jnp.float32), jnp.asarray(y)).dtype == jnp.float64
    if kernel is flux:
        tiny = 10 * np.finfo(np.float32).tiny
        np.testing.assert_allclose(single, double, rtol=2e-6, atol=tiny)
    else:
        turnover = Reference.read(name).turnover(np.asarray(k), y)
        scale = turnover if kernel is tendency else turnover[:, None] / y
        assert_close(single, double, scale, 5e-6)


@pytest.mark.parametrize("kernel", [flux, tendency, jacobian])
def test_other_rates_do_not_compile_again(kernel):
    """Two networks of one structure, and one loaded twice, share compiled code."""
    traces = []

    @jax.jit
    def compiled(network, k, y):
        traces.append(1)
        return kernel(network, k, y)

    one = table.loads(KINDS)
    other = eqx.tree_at(lambda n: n.laws[0].numbers, one, replace_fn=lambda a: 2 * a)
    y = jnp.array([1.0, 2.0, 3.0])
    first = compiled(one, one.rates(), y)
    second = compiled(other, other.rates(), y)
    compiled(table.loads(KINDS), one.rates(), y)
    assert len(traces) == 1
    np.testing.assert_allclose(second, 2 * first, rtol=1e-14)
    compiled(table.loads(KINDS.replace("2 A -> B", "2 A -> D")), one.rates(), y)
    assert len(traces) == 2
