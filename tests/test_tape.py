"""Tapes against the JAX functions that they were lowered from, in NumPy and in C."""

import ctypes
import datetime
import functools
import platform
import re
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from problems import shared

import jaxchem
from jaxchem.solvers import tape as tapes
from jaxchem.solvers.lowering import NotLowered, lower, lower_jaxpr
from jaxchem.solvers.tape import CELL, STEP, Op, dependence, run, zeros

HOURS = np.array([0.0, 3.0, 7.0, 12.0, 16.5, 24.0])
VALUES = np.array([0.0, 0.1, 2.0, 5.0, 1.5, 0.0])
INF, NAN = np.inf, np.nan


def count(code):
    """Instructions in a section."""
    return sum(len(block) for _, block in tapes._runs(code))


def opcodes(code):
    return [op for op, _ in tapes._runs(code)]


def lowered(function, *arrays, level=STEP):
    """One output of one group."""
    return lower(lambda *x: ((function(*x),),), [(np.shape(a), level) for a in arrays])


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


# ---- primitives

EDGES = np.array(
    [-INF, -3.5, -2.5, -1.0, -0.5, -1e-9, 0.0, 1e-9, 0.3, 0.5, 1.0, 1.5, 2.5, INF, NAN]
)
POSITIVE = np.array([1e-300, 1e-9, 0.2, 1.0, 3.0, 1e8, 1e300, INF])
UNIT = np.linspace(-1, 1, 9)

ONE = {
    "neg": (jnp.negative, EDGES),
    "abs": (jnp.abs, EDGES),
    "sign": (jnp.sign, EDGES),
    "floor": (jnp.floor, EDGES),
    "ceil": (jnp.ceil, EDGES),
    "round_even": (jnp.round, EDGES),
    "round_away": (lax.round, EDGES),
    "trunc": (jnp.trunc, EDGES),
    "square": (jnp.square, EDGES),
    "cube": (lambda x: x**3, EDGES),
    "inverse square": (lambda x: x**-2, EDGES),
    "ninth": (lambda x: lax.integer_pow(x, 9), EDGES),
    "sqrt": (jnp.sqrt, EDGES),
    "rsqrt": (lax.rsqrt, POSITIVE),
    "cbrt": (jnp.cbrt, EDGES),
    "exp": (jnp.exp, EDGES),
    "exp2": (jnp.exp2, EDGES),
    "expm1": (jnp.expm1, EDGES),
    "log": (jnp.log, POSITIVE),
    "log of nothing": (jnp.log, np.array([0.0, -1.0])),
    "log1p": (jnp.log1p, POSITIVE),
    "log2": (jnp.log2, POSITIVE),
    "log10": (jnp.log10, POSITIVE),
    "logistic": (jax.nn.sigmoid, EDGES),
    "softplus": (jax.nn.softplus, EDGES),
    "relu": (jax.nn.relu, EDGES),
    "sin": (jnp.sin, EDGES[1:-2]),
    "cos": (jnp.cos, EDGES[1:-2]),
    "tan": (jnp.tan, EDGES[1:-2]),
    "sinh": (jnp.sinh, EDGES),
    "cosh": (jnp.cosh, EDGES),
    "tanh": (jnp.tanh, EDGES),
    "asin": (jnp.arcsin, UNIT),
    "acos": (jnp.arccos, UNIT),
    "atan": (jnp.arctan, EDGES),
    "asinh": (jnp.arcsinh, EDGES),
    "acosh": (jnp.arccosh, POSITIVE[3:]),
    "atanh": (jnp.arctanh, UNIT),
    "erf": (jax.scipy.special.erf, EDGES),
    "is_finite": (jnp.isfinite, EDGES),
    "isnan": (jnp.isnan, EDGES),
    "nan_to_num": (jnp.nan_to_num, EDGES),
    "not": (lambda x: ~(x > 0), EDGES),
    "to a truth": (lambda x: x.astype(bool), EDGES[:-1]),
    "from a truth": (lambda x: (x > 0).astype(float) * 3, EDGES),
    "to an integer": (lambda x: x.astype(int), EDGES[1:-2]),
    "halves": (lambda x: (10 * x).astype(int) // 3, EDGES[1:-2]),
    "stop_gradient": (lax.stop_gradient, EDGES),
    "barrier": (lax.optimization_barrier, EDGES),
    "clip": (lambda x: jnp.clip(x, -1, 2), EDGES),
    "choice of three": (
        lambda x: lax.select_n(jnp.clip(x, 0, 2).astype(jnp.int32), x, 2 * x, 3 * x),
        EDGES[1:-2],
    ),
    "power 0": (lambda x: x**0.0, EDGES),
    "power 1": (lambda x: x**1.0, EDGES),
    "power 1/2": (lambda x: x**0.5, POSITIVE),
    "power -1/2": (lambda x: x**-0.5, POSITIVE),
    "power 2.7": (lambda x: x**2.7, np.append(POSITIVE, [0.0, -1.0])),
    "10 to the x": (lambda x: 10.0**x, EDGES),
    "float32": (lambda x: x.astype(jnp.float32), np.array([0.5, 3.0])),
}

TWO = {
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "div": jnp.divide,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "rem": jnp.fmod,
    "mod": jnp.mod,
    "floor_divide": jnp.floor_divide,
    "atan2": jnp.arctan2,
    "pow": jnp.power,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
    "eq": jnp.equal,
    "ne": jnp.not_equal,
    "and": lambda x, y: (x > 0) & (y > 0),
    "or": lambda x, y: (x > 0) | (y > 0),
    "xor": lambda x, y: (x > 0) ^ (y > 0),
    "same truth": lambda x, y: (x > 0) == (y > 0),
    "where": lambda x, y: jnp.where(x > y, x, y),
    "logaddexp": jnp.logaddexp,
    "hypot": jnp.hypot,
}


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


A = np.arange(12.0).reshape(3, 4) / 7 - 0.5
B = np.cos(np.arange(20.0)).reshape(4, 5)
PICK = np.array([2, 0, 2])

ARRAYS = {
    "reshape": (lambda a: a.reshape(2, 6), A),
    "transpose": (lambda a: a.T, A),
    "rev": (lambda a: a[::-1, ::2], A),
    "broadcast": (lambda a: a[:, None] * jnp.ones((3, 2, 4)), A),
    "tile": (lambda a: jnp.tile(a, (2, 1)), A),
    "stack": (lambda a: jnp.stack([a, jnp.ones(a.shape)], axis=1), A),
    "concatenate": (lambda a: jnp.concatenate([a, jnp.zeros((1, 4)), a]), A),
    "split": (lambda a: jnp.split(a, 2, axis=1)[1], A),
    "pad": (lambda a: lax.pad(a, 7.0, ((1, -1, 2), (0, 1, 0))), A),
    "iota": (lambda a: a + jnp.arange(4.0)[None], A),
    "gather": (lambda a: a[PICK], A),
    "gather of two": (lambda a: a[PICK, PICK], A),
    "gather, filled": (lambda a: a.at[np.array([1, 9])].get(mode="fill", fill_value=-1), A),
    "gather, clipped": (lambda a: a.at[np.array([1, 9])].get(mode="clip"), A),
    "take": (lambda a: jnp.take(a, PICK, axis=1), A),
    "take_along_axis": (lambda a: jnp.take_along_axis(a, PICK[:, None], axis=1), A),
    "vmapped gather": (lambda a: jax.vmap(lambda r, i: r[i])(a, jnp.asarray(PICK)), A),
    "dynamic_slice": (lambda a: lax.dynamic_slice(a, (1, 7), (2, 2)), A),
    "update": (lambda a: lax.dynamic_update_slice(a, a[:1, :1] * 0 + 5, (1, 9)), A),
    "set": (lambda a: a.at[1:].set(2 * a[0]), A),
    "set twice": (lambda a: a.at[np.array([0, 0])].set(a[1:]), A),
    "scatter-add": (lambda a: a.at[np.array([0, 0, 2, 9])].add(a[1]), A),
    "scatter-mul": (lambda a: a.at[PICK].multiply(a), A),
    "scatter-max": (lambda a: a.at[PICK].max(a), A),
    "scatter-min": (lambda a: a.at[PICK].min(a), A),
    "sum": (lambda a: a.sum(), A),
    "sum of rows": (lambda a: a.sum(axis=1), A),
    "sum of nothing": (lambda a: a[:0].sum(axis=0), A),
    "prod": (lambda a: a.prod(axis=0), A),
    "max": (lambda a: a.max(axis=1), A),
    "min": (lambda a: a.min(), A),
    "all": (lambda a: (a > -0.3).all(axis=0), A),
    "any": (lambda a: (a > 0.5).any(axis=1), A),
    "cumsum": (lambda a: jnp.cumsum(a, axis=1), A),
    "cumprod": (lambda a: jnp.cumprod(a, axis=0), A),
    "cummax, reversed": (lambda a: lax.cummax(a, axis=1, reverse=True), A),
    "matmul": (lambda a, b: a @ b, A, B),
    "matmul by a constant": (lambda a: a @ np.eye(4)[:, ::2], A),
    "batched": (lambda a: jnp.einsum("bij,bjk->bik", a.reshape(3, 2, 2), a.reshape(3, 2, 2)), A),
    "einsum": (lambda a, b: jnp.einsum("ij,jk,lj->kl", a, b, a), A, B),
    "norm": (jnp.linalg.norm, A),
    "polyval": (lambda a: jnp.polyval(np.array([3.0, 0.0, -1.0, 2.0]), a), A),
    "scan": (lambda a: lax.scan(lambda c, r: (c * r.sum() + 1, r * c), 1.0, a)[1], A),
    "scan, reversed": (lambda a: lax.scan(lambda c, r: (c + r, c), a[0], a, reverse=True)[1], A),
    "fori_loop": (lambda a: lax.fori_loop(0, 5, lambda i, x: x * a + i, a), A),
    "while": (
        lambda a: lax.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, c[1] * a), (0, a)),
        A,
    ),
    "map": (lambda a: lax.map(jnp.sin, a), A),
    "cond": (lambda a: lax.cond(a[0, 0] > 0, jnp.sin, jnp.cos, a), A),
    "switch": (
        lambda a: lax.switch(a[2, 3].astype(int), [jnp.sin, jnp.cos, jnp.tan, jnp.exp], a),
        A,
    ),
    "checkpoint": (jax.checkpoint(lambda a: jnp.sin(a) * 2), A),
    "a constant's sort": (lambda a: a @ jnp.sort(jnp.array([3.0, 1.0, 2.0, 0.0])), A),
    "computed index": (lambda a: jnp.asarray(VALUES)[(4 * a).astype(int)], A),
    "computed row": (lambda a: jnp.asarray(B)[(4 * a[0, 1] + 5).astype(int)], A),
    "computed row and column": (
        lambda a: jnp.asarray(B)[(4 * a + 2).astype(int), (2 * a + 1).astype(int)],
        A,
    ),
    "computed take": (lambda a: jnp.take(VALUES, (9 * a).astype(int)), A),
    "computed take of three": (lambda a: jnp.take(B, (9 * a).astype(int), axis=1), A),
    "computed slice": (
        lambda a: lax.dynamic_slice(jnp.asarray(HOURS), [(a[1, 1] * 9).astype(int)], [2]),
        A,
    ),
    "computed index, computed array": (lambda a: a[(3 * a[:, 0] + 1).astype(int), 1], A),
    "set at a computed place": (lambda a: a[0].at[(9 * a[1, 1]).astype(int)].set(7.0), A),
    "add at computed places": (
        lambda a: a[0].at[(jnp.array([1.2, 1.3, 9.0]) + a[1, 1]).astype(int)].add(a[:, 3]),
        A,
    ),
    "update at a computed place": (
        lambda a: lax.dynamic_update_slice(a, a[:2, :2] * 3, ((9 * a[1, 1]).astype(int), 9)),
        A,
    ),
    "pullback of an interpolation": (
        lambda a: jax.grad(lambda v: jnp.interp(a[1, 1] + 1, jnp.arange(4.0), v))(a[0]),
        A,
    ),
    "argmax": (lambda a: jnp.argmax(a * a, axis=1), A),
    "argmin": (lambda a: jnp.argmin(a.at[1, 2].set(NAN), axis=0), A),
    "argmax of truths": (lambda a: jnp.argmax(a > 0.2), A),
    "select": (lambda a: jnp.select([a < -0.2, a < 0.3], [a, 2 * a], 3 * a), A),
    "least truth": (lambda a: jnp.min(a > -0.3, axis=0), A),
    "greatest truth": (lambda a: jnp.max(a > 0.9, axis=1), A),
    "truncated": (lambda a: (9 * a).astype(jnp.bfloat16).astype(int), A),
    "loops of several lengths": (
        lambda a: jax.vmap(lambda n, r: lax.fori_loop(0, n, lambda i, s: s * r, jnp.ones(4)))(
            jnp.array([0, 1, 4]), a
        ),
        A,
    ),
}


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


# ---- what is simplified


def test_constants_fold_and_nothing_is_computed_twice():
    def function(x):
        unused = jnp.tan(x)
        a = jnp.exp(x) * 1.0 + 0.0
        b = jnp.exp(x) - 0.0 * unused
        return a, b, jnp.exp(jnp.log(2.0)) * jnp.ones(3), x / 1.0, -jnp.negative(x), x / 4.0

    tape = lower(lambda x: (function(x),), [((), STEP)])
    a, b, two, *same, quarter = (int(s.ravel()[0]) for s in tape.outputs[0])
    assert a == b
    assert same == [tape.inputs[0]] * 2
    assert two < len(tape.constants)
    assert tape.levels[two] == 0
    assert tape.levels[quarter] == STEP
    assert sorted(opcodes(tape.groups[0])) == [Op.MUL, Op.EXP]


def test_zero_times_anything_is_zero():
    tape = lowered(lambda x: 0.0 * jnp.exp(x) + jnp.zeros(()) / x + jnp.array(-0.0) / x, 0.0)
    assert not tape.groups[0].size
    assert run(tape, [np.inf])[0][0] == 0


def test_products_join_sums():
    assert opcodes(lowered(lambda x, y: x * y + x, 1.0, 1.0).groups[0]) == [Op.FMA]
    tape = lower(lambda x, y: ((x * y + x, x * y),), [((), STEP), ((), STEP)])
    assert sorted(opcodes(tape.groups[0])) == [Op.ADD, Op.MUL]


def test_runs_are_long():
    """Of one opcode in a row, however the function interleaves them."""

    def function(x):
        return jnp.stack([jnp.exp(x[i]) * x[i] for i in range(20)])

    tape = lowered(function, np.ones(20))
    assert [(op, len(block)) for op, block in tapes._runs(tape.groups[0])] == [
        (Op.EXP, 20),
        (Op.MUL, 20),
    ]


def test_levels():
    """What depends on a cell alone runs once a cell; a product of both levels is no FMA's part."""

    def function(t, p):
        constant = jnp.exp(p[0]) * p[1]
        return (constant * t, p[0] * p[1] + t, jnp.full((), 3.0), p), (constant * t + 1.0,)

    tape = lower(function, [((), STEP), ((2,), CELL)])
    assert sorted(opcodes(tape.cell)) == [Op.MUL, Op.EXP]
    assert count(tape.cell) == 3
    assert count(tape.groups[0]) == 2
    assert count(tape.groups[1]) == 1
    levels = [tape.levels[s].tolist() for s in tape.outputs[0]]
    assert levels == [STEP, STEP, 0, [CELL, CELL]]
    assert tape.inputs == (len(tape.constants), len(tape.constants) + 1)
    values = 0.7, np.array([0.3, 2.0])
    for found, expected in zip(run(tape, values), function(*values), strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)


def test_groups_leave_out_what_is_there():
    def function(x):
        return (jnp.sin(x),), (jnp.sin(x) + 1.0,), (jnp.sin(x) + 1.0, jnp.sin(x))

    tape = lower(function, [((), STEP)])
    assert [count(code) for code in tape.groups] == [1, 1, 0]


def test_cells_at_once():
    x = np.linspace(0, 1, 12).reshape(3, 4)
    tape = lowered(lambda x: jnp.exp(x) @ jnp.arange(3.0), np.ones(3))
    ((found,),) = run(tape, [x], batched=True)
    np.testing.assert_allclose(found, np.arange(3) @ np.exp(x), rtol=1e-15)


# ---- what cannot be

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


# ---- dependence


def test_dependence():
    def function(t, p, y):
        k = jnp.stack(
            [jnp.exp(p), t * p, y[0] * t, 0.0 * y[1], y[1] + y[2] * jnp.where(t > 0, 1, 2)]
        )
        return (k,), (y[::-1].reshape(3, 1),)

    tape = lower(function, [((), STEP), ((), CELL), ((3,), STEP)])
    (k,), (y,) = dependence(tape)
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]]
    np.testing.assert_array_equal(k, np.array(expected, bool))
    np.testing.assert_array_equal(y[:, 0], np.eye(4, dtype=bool)[:0:-1])


def test_dependence_is_the_pattern_of_the_jacobian():
    network = jaxchem.load("osu29")
    k = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
    tape = lowered(lambda y: jaxchem.tendency(network, k, y), np.ones(len(network.species)))
    np.testing.assert_array_equal(dependence(tape)[0][0], network.pattern())
    tape = lowered(jax.jacfwd(lambda y: jaxchem.tendency(network, k, y)), np.ones(29))
    np.testing.assert_array_equal(zeros(tape)[0][0], ~network.pattern())


def test_dependence_without_inputs():
    tape = lowered(lambda p: p * jnp.ones(3), 1.0, level=CELL)
    assert dependence(tape)[0][0].shape == (3, 0)


# ---- networks


@functools.cache
def problem(name):
    """Function of inputs, and values of these at levels."""
    random = np.random.default_rng(0)
    if name == "osu29":
        network = jaxchem.load(name)

        def rates(conditions):
            return network.rates(temperature=conditions[0], cosmic_ray_rate=conditions[1])

        return rates, [np.array([50.0, 1e-16])], [STEP]
    if name == "tendency":
        network = jaxchem.load("osu29")
        k = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
        y = random.uniform(0.5, 1.5, len(network.species))
        return lambda y: jaxchem.tendency(network, k, y), [y], [STEP]
    if name == "mcm_methane":
        network = jaxchem.load(name)
    elif name == "saprc99":
        network = jaxchem.load(shared("data", "mechanisms", "kpp_models", "saprc99.def"))
        k, y = network.rates(local_time=lambda t: t), jnp.ones(len(network.species))
        return lambda t: k(t, y), [np.array(39000.0)], [STEP]
    else:
        path = ("data", "mechanisms", "kpp_mcm_isoprene", "mcm_isoprene.eqn")
        network = jaxchem.load(shared(*path))
    sun = jaxchem.Sun(latitude=45.0, longitude=0.0, day=datetime.date(2024, 6, 21))

    def diurnal(t, p):
        return network.rates(
            temperature=p[0] + p[1] * jnp.sin(2 * jnp.pi * t / 86400.0),
            **({"density": p[2]} if name == "mcm_methane" else {"pressure": p[2]}),
            relative_humidity=p[3],
            solar_zenith_angle=sun(t),
        )

    return diurnal, [np.array(39000.0), np.array([290.0, 8.0, 101325.0, 0.5])], [STEP, CELL]


PROBLEMS = ("osu29", "tendency", "mcm_methane", "saprc99", "mcm_isoprene")


def both(name):
    """A problem's function with its derivative by the first input: two groups, inputs, levels."""
    function, values, levels = problem(name)

    def whole(x, *rest):
        along = jnp.cos(jnp.arange(x.size, dtype=float)).reshape(x.shape) * x
        k, slope = jax.jvp(lambda x: function(x, *rest), (x,), (along,))
        return (k,), (slope,)

    return whole, values, levels


@functools.cache
def tape_of(name):
    function, values, levels = both(name)
    return lower(function, [(v.shape, level) for v, level in zip(values, levels, strict=True)])


@functools.cache
def expected_of(name):
    function, values, _ = both(name)
    return jax.jit(function)(*map(jnp.asarray, values))


def agree(found, expected, rtol=1e-13):
    """Each to that of itself, and where terms cancel to a thousandth of that of the largest."""
    for a, b in zip(found, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            largest = np.abs(y).max(initial=0)
            np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-3 * rtol * largest)


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


# ---- random expressions

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


# ---- in C

KERNEL = Path(tapes.__file__).with_name("kernel")
COMPILER = shutil.which("cc")
CALL = """
#include "lanes.h"
#define CELLS (MANY ? LANES : 1)
#define DIRECTIONS (MANY ? 1 : LANES)
#include "element.h"
#include "tape.h"
int cells(void) { return CELLS; }
void call(const int32_t *code, int64_t length, double *slots, const double *table) {
  run_tape(code, length, (el *)slots, table);
}
"""
BUILDS = {  # architecture, whether of many cells
    "one": ("native", 0),
    "two": ("x86-64", 1),
    "four": ("haswell", 1),
    "eight": ("native", 1),
}


def runs_here(architecture):
    """Whether this machine has that instruction set."""
    information = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not information.exists():
        return False
    return architecture == "x86-64" or "avx2" in information.read_text()


@pytest.fixture(scope="module", params=BUILDS)
def interpret(request, tmp_path_factory):
    """`f(tape, inputs)` with a last axis of cells, in C."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    (architecture, many), folder = BUILDS[request.param], tmp_path_factory.mktemp("tape")
    if architecture != "native" and not runs_here(architecture):
        pytest.skip(f"not a {architecture}")
    (folder / "call.c").write_text(CALL)
    subprocess.run(
        [
            *(COMPILER, "-O3", f"-march={architecture}", "-fno-math-errno", "-fno-trapping-math"),
            *("-ffp-contract=off", "-Wall", "-Wextra", "-Wno-psabi", "-Werror", "-shared"),
            *("-fPIC", f"-I{KERNEL}", f"-DMANY={many}", "call.c", "-o", "call.so", "-lm"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    library = ctypes.CDLL(str(folder / "call.so"))
    cells = library.cells()

    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)

    def call(code, slots, table):
        library.call(pointer(code), ctypes.c_int64(len(code)), pointer(slots), pointer(table))

    def aligned(size):
        raw = np.zeros(size * cells + 8)
        start = -raw.ctypes.data // 8 % 8
        return raw[start : start + size * cells].reshape(size, cells)

    def interpret(tape, inputs):
        width = np.shape(inputs[0])[-1]
        columns = []
        for start in range(0, width, cells):
            at = np.minimum(np.arange(start, start + cells), width - 1)
            slots = aligned(tape.slots)
            slots[: len(tape.constants)] = tape.constants[:, None]
            for first, x in zip(tape.inputs, inputs, strict=True):
                flat = np.asarray(x, float).reshape(-1, width)[:, at]
                slots[first : first + len(flat)] = flat
            for code in (tape.cell, *tape.groups):
                call(code, slots, tape.table)
            columns.append(slots[:, : min(cells, width - start)])
        slots = np.concatenate(columns, axis=1)
        return tuple(tuple(slots[output] for output in group) for group in tape.outputs)

    def each(op, *operands):
        """One opcode on long arrays."""
        n = len(operands[0]) // cells
        slots = aligned((len(operands) + 1) * n)
        for k, x in enumerate(operands):
            slots[k * n : (k + 1) * n] = x[: n * cells].reshape(n, cells)
        at = np.arange(n)
        columns = [at + k * n for k in range(len(operands))]
        block = np.stack([*(columns + columns[:1] * 2)[:3], at + len(operands) * n], axis=1)
        call(np.array([op, n, *block.ravel()], np.int32), slots, np.zeros(1))
        return slots[len(operands) * n :].ravel()

    interpret.each = each
    interpret.cells = cells
    return interpret


def test_opcodes_have_the_same_numbers_in_c():
    names = re.search(r"enum \{(.*?)\}", (KERNEL / "tape.h").read_text(), re.DOTALL)
    assert names is not None
    assert re.findall(r"OP_(\w+)", names[1]) == [op.name for op in Op]


def test_all_opcodes_in_c(interpret):
    """Every primitive above, with the edge cases."""
    pieces = [
        *((f, [v]) for f, v in ONE.values()),
        *(
            (f, [np.array([-3.5, 0.0, 0.4, INF, NAN]), np.full(5, y)])
            for f in TWO.values()
            for y in (-1.0, 2.5)
        ),
        *((f, list(v)) for name, (f, *v) in ARRAYS.items() if name.startswith("computed")),
        (lambda t: jnp.interp(t, HOURS, VALUES), [np.array([-1.0, 2.9, 3.0, 12.1, 30.0])]),
    ]

    shapes = [np.shape(a) for _, arrays in pieces for a in arrays]

    def whole(*inputs):
        left = iter(inputs)
        return tuple((jnp.asarray(f(*(next(left) for _ in v))),) for f, v in pieces)

    tape = lower(whole, [(shape, STEP) for shape in shapes])
    spread = [
        np.stack([a * (1 + 0.01 * k) for k in range(interpret.cells + 1)], axis=-1)
        for _, arrays in pieces
        for a in arrays
    ]
    expected = run(tape, spread, batched=True)
    for (a,), (b,) in zip(interpret(tape, spread), expected, strict=True):
        truths = np.isin(b.view(np.int64), [0, -1]).all()
        if truths:
            np.testing.assert_array_equal(a.view(np.int64), b.view(np.int64))
        else:
            # what is subnormal may be zero
            np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-307)
    used = {op for code in tape.groups for op in opcodes(code)}
    assert set(Op) - used <= {Op.ERFC, Op.FMA}


@pytest.mark.parametrize("name", PROBLEMS)
def test_networks_in_c(interpret, name):
    _, values, _ = problem(name)
    tape = tape_of(name)
    spread = [
        np.stack([v * (1 + 0.01 * k) for k in range(interpret.cells)], axis=-1) for v in values
    ]
    agree(interpret(tape, spread), run(tape, spread, batched=True), rtol=1e-12)


def ulps(found, function, *arguments):
    """Error beside long doubles, in units of the last place."""
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("no long double to compare with")
    exact = function(*(x.astype(np.longdouble) for x in arguments))
    near = exact.astype(float)
    kept = np.isfinite(near) & (np.abs(near) > 2.3e-308)
    error = np.abs(found[kept] - exact[kept]) / np.spacing(np.abs(near[kept]))
    return float(error.max())


N = 100_000


@pytest.mark.parametrize(
    "op, function, spans, limit",
    [
        (Op.EXP, np.exp, [(-708, 709.7)], 1),
        (Op.EXP, np.exp, [(-1, 1)], 1),
        (Op.LOG, lambda x: np.log(x), [(0.3, 3)], 1),
        (Op.SIN, np.sin, [(-10, 10)], 2.5),
        (Op.COS, np.cos, [(-10, 10)], 2.5),
        (Op.SIN, np.sin, [(-1e5, 1e5)], 2.5),
        (Op.TANH, np.tanh, [(-3, 3)], 2.5),
        (Op.POW, np.power, [(1e-4, 10), (-10, 10)], 4),
        (Op.POW, np.power, [(1, 1e6), (-10, 10)], 4),
    ],
)
def test_accuracy_in_c(interpret, op, function, spans, limit):
    random = np.random.default_rng(1)
    arguments = [random.uniform(*span, N) for span in spans]
    assert ulps(interpret.each(op, *arguments), function, *arguments) <= limit


def test_log_over_all_magnitudes_in_c(interpret):
    x = 10 ** np.random.default_rng(2).uniform(-307, 308, N)
    assert ulps(interpret.each(Op.LOG, x), np.log, x) <= 1


@pytest.mark.parametrize(
    "op, function",
    [
        *((Op.EXP, np.exp), (Op.LOG, np.log), (Op.SIN, np.sin), (Op.COS, np.cos)),
        *((Op.TANH, np.tanh), (Op.SQRT, np.sqrt), (Op.FLOOR, np.floor), (Op.ROUND, np.rint)),
    ],
)
def test_ends_in_c(interpret, op, function):
    x = np.array(
        [
            0.0,
            -0.0,
            INF,
            -INF,
            NAN,
            5e-324,
            1e-310,
            -1.0,
            0.5,
            2.5,
            709.78,
            710,
            -708,
            -750,
            1e5,
            1e300,
        ]
    )
    with np.errstate(all="ignore"):
        expected = function(x)
    np.testing.assert_allclose(interpret.each(op, x), expected, rtol=1e-15, atol=1e-307)


def test_ends_of_powers_in_c(interpret):
    base = np.array(
        [0.0, 0.0, -2.0, -2.0, INF, NAN, 1.0, 2.0, 1e300, 0.5, 2.0, 10.0, 0.1, 1.0, -INF, 0]
    )
    power = np.array(
        [2.0, -1.0, 3, 0.5, -1.0, 0, NAN, 1075, 2, 1e10, -1000, -300, 320, INF, 3.0, 0]
    )
    with np.errstate(all="ignore"):
        expected = np.power(base, power)
    np.testing.assert_allclose(
        interpret.each(Op.POW, base, power), expected, rtol=1e-14, atol=1e-307
    )
