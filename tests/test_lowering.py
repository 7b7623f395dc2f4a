"""Tapes against the JAX functions that they were lowered from, and functions that have none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from tape_cases import (
    ARRAYS,
    HOURS,
    INF,
    NAN,
    ONE,
    PROBLEMS,
    TWO,
    VALUES,
    A,
    agree,
    both,
    lowered,
    problem,
    tape_of,
)

from jaxchem.solvers.lowering import NotLowered, lower, lower_jaxpr
from jaxchem.solvers.tape import CELL, STEP, run


def check(function, *arrays, rtol=1e-14, atol=0.0):
    """The tape gives what the function does; a truth as a mask."""
    arrays = [np.asarray(a, float) for a in arrays]
    tape = lowered(function, *arrays)
    ((found,),) = run(tape, arrays)
    expected = np.asarray(function(*map(jnp.asarray, arrays)))
    if expected.dtype == bool:
        found = found.view(np.int64) != 0
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
    return tape


# Primitives


@pytest.mark.parametrize("name", ONE)
def test_functions_of_one(name):
    function, values = ONE[name]
    check(function, values, rtol=2e-14)


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two(name):
    ends = np.array([-INF, -3.5, -1.0, 0.0, 0.4, 1.0, 2.0, 7.5, INF, NAN])
    x, y = (a.ravel() for a in np.meshgrid(ends, ends))
    if name in ("mod", "floor_divide", "hypot"):
        x, y = (a[np.isfinite(x) & np.isfinite(y) & (y != 0)] for a in (x, y))
    check(TWO[name], x, y)


@pytest.mark.parametrize("name", ARRAYS)
def test_functions_of_arrays(name):
    function, *arrays = ARRAYS[name]
    if name == "while":
        check(lambda a: function(a)[1], *arrays)
    else:
        check(function, *arrays)


@pytest.mark.parametrize("how", ["scan", "scan_unrolled", "compare_all", "sort"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(how, side):
    at = np.array([-1.0, 0.0, 3.0, 3.1, 23.9, 24.0, 30.0])
    search = functools.partial(jnp.searchsorted, jnp.asarray(HOURS), side=side, method=how)
    if how == "sort":
        with pytest.raises(NotLowered, match="sort"):
            lowered(search, at)
    else:
        check(search, at)


def test_interpolation_as_users_write_it():
    at = np.array([-1.0, 0.0, 2.9, 3.0, 12.1, 23.9, 24.0, 30.0])
    check(lambda t: jnp.interp(t, HOURS, VALUES), at)
    check(lambda t: jax.vmap(lambda t: jnp.interp(t, HOURS, VALUES))(t), at)
    check(lambda t: jnp.interp(t % 24.0, HOURS, VALUES), 50.0)
    check(lambda t: jnp.interp(t, HOURS, VALUES, period=24.0), at)
    inside = np.array([1.0, 5.0, 20.0])
    check(jax.vmap(jax.grad(lambda t: jnp.interp(t, HOURS, VALUES))), inside)
    assert len(lowered(lambda t: jnp.interp(t, HOURS, VALUES), 0.0).table) == 2 * len(HOURS)


def test_custom_derivatives():
    @jax.custom_vjp
    def double(x):
        return 2 * x

    double.defvjp(lambda x: (2 * x, None), lambda _, g: (5 * g,))
    check(double, A)
    check(jax.grad(lambda a: double(a).sum()), A)


# What cannot be

REFUSED = {
    "while": lambda x: lax.while_loop(lambda v: v < 5.0, lambda v: v + 1.0, x[0]),
    "scan": lambda x: lax.fori_loop(0, 1000, lambda i, v: v * x, x),
    "sort": jnp.sort,
    "lu": lambda x: lax.linalg.lu(x)[0],
    "pure_callback": lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x),
    "convert_element_type": lambda x: x.astype(complex).real,
    "scatter": lambda x: jnp.concatenate([x] * 40).at[x[0].astype(int)].set(1.0),
    "reduce_and": lambda x: lax.reduce_and(x.astype(int), (0,)),
    "gather": lambda x: jnp.concatenate([x] * 40)[x.astype(int)],
    "and": lambda x: x.astype(int) & 3,
    "random_seed": lambda x: x * jax.random.normal(jax.random.key(0), x.shape),
}


def test_a_function_applied_in_place_is_refused():
    with pytest.raises(NotLowered, match="applied to what stands there"):
        lowered(lambda x: x.at[0].apply(jnp.sqrt), np.ones(2))


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_the_primitive(name):
    with pytest.raises(NotLowered, match=rf"^{name}: .{{10}}") as error:
        lowered(REFUSED[name], np.ones((2, 2) if name == "lu" else 2))
    assert error.value.primitive == name


def test_numbers_of_inputs_and_outputs():
    closed = jax.make_jaxpr(lambda x, y: (x + y, x))(1.0, 2.0)
    assert len(lower_jaxpr(closed, [CELL, STEP], [1, 1]).groups) == 2
    with pytest.raises(ValueError, match="levels"):
        lower_jaxpr(closed, [STEP], [2])
    with pytest.raises(ValueError, match="CELL or STEP"):
        lower_jaxpr(closed, [STEP, 0], [2])
    with pytest.raises(ValueError, match="groups"):
        lower_jaxpr(closed, [STEP, STEP], [1])


# Networks


@functools.cache
def expected_of(name):
    function, values, _ = both(name)
    return jax.jit(function)(*map(jnp.asarray, values))


@pytest.mark.parametrize(
    "name",
    [*PROBLEMS[:-1], pytest.param(PROBLEMS[-1], marks=pytest.mark.slow)],  # XLA takes 20 s for it
)
def test_networks(name):
    _, values, _ = problem(name)
    ((k,), (slope,)) = run(tape_of(name), values)
    ((expected,), (expected_slope,)) = expected_of(name)
    np.testing.assert_allclose(k, expected, rtol=1e-13, atol=1e-13 * (name == "tendency"))
    agree([[slope]], [[expected_slope]], rtol=1e-12)


@pytest.mark.parametrize("name", ["osu29", "tendency"])
@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev])
def test_jacobians(name, transform):
    function, values, _ = problem(name)
    tape = lowered(transform(function), *values)
    agree(run(tape, values), [[jax.jit(transform(function))(*values)]])


def test_pullback():
    function, values, _ = problem("osu29")

    def pullback(conditions, weights):
        return jax.vjp(function, conditions)[1](weights)

    k = np.asarray(function(*values))
    values = [*values, np.cos(np.arange(len(k))) / np.where(k == 0, 1, k)]
    tape = lower(lambda *x: (pullback(*x),), [(v.shape, STEP) for v in values])
    agree(run(tape, values), [jax.jit(pullback)(*values)], rtol=1e-11)


# Random expressions

UNARY = [jnp.sin, jnp.tanh, jnp.exp, jnp.abs, jnp.floor, lambda x: x * x, lambda x: -x, jnp.sum]
BINARY = [
    jnp.add,
    jnp.subtract,
    jnp.multiply,
    lambda x, y: x / (1 + y * y),
    jnp.maximum,
    lambda x, y: jnp.where(x > y, x, 2.0 * y),
    lambda x, y: (x + jnp.zeros(3))[::-1] + y,
]
LEAVES = [lambda x, y: x, lambda x, y: y, lambda x, y: x[1], lambda x, y: y[2]]


def trees():
    """Functions of two arrays [3]."""
    leaves = st.sampled_from(LEAVES) | st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.3]).map(
        lambda c: lambda x, y: jnp.asarray(c)
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(UNARY), inner).map(
                lambda t: lambda x, y: t[0](jnp.clip(t[1](x, y), -5.0, 5.0))
            ),
            st.tuples(st.sampled_from(BINARY), inner, inner).map(
                lambda t: lambda x, y: t[0](t[1](x, y), t[2](x, y))
            ),
        ),
        max_leaves=8,
    )


@settings(max_examples=20, deadline=None)
@given(trees(), st.lists(st.floats(-3, 3, width=16), min_size=6, max_size=6))
def test_random_expressions(function, numbers):
    x, y = np.array(numbers).reshape(2, 3)

    def whole(x, y):
        return (function(x, y),), (jax.jvp(lambda x: function(x, y), (x,), (jnp.ones(3),))[1],)

    tape = lower(whole, [((3,), STEP), ((3,), CELL)])
    for a, b in zip(run(tape, [x, y]), whole(*map(jnp.asarray, (x, y))), strict=True):
        np.testing.assert_allclose(a[0], b[0], rtol=1e-10, atol=1e-10)
