"""Functions to lower: of every primitive with its edge cases, and of networks."""

import datetime
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from problems import shared

import jaxchem
from jaxchem.solvers import tape as tapes
from jaxchem.solvers.lowering import lower
from jaxchem.solvers.tape import CELL, STEP

HOURS = np.array([0.0, 3.0, 7.0, 12.0, 16.5, 24.0])
VALUES = np.array([0.0, 0.1, 2.0, 5.0, 1.5, 0.0])
INF, NAN = np.inf, np.nan


def opcodes(code):
    return [op for op, _ in tapes._runs(code)]


def lowered(function, *arrays, level=STEP):
    """One output of one group."""
    return lower(lambda *x: ((function(*x),),), [(np.shape(a), level) for a in arrays])


# Primitives

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


# Networks


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


def agree(found, expected, rtol=1e-13):
    """Each to that of itself, and where terms cancel to a thousandth of that of the largest."""
    for a, b in zip(found, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            largest = np.abs(y).max(initial=0)
            np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-3 * rtol * largest)
