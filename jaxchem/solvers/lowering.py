"""A JAX function as a tape: its jaxpr, primitive by primitive, taken apart into scalars.

[`lower`][] traces a function once and evaluates the trace on arrays of nodes of a graph
(`tape.py`); what an output needs becomes the tape's instructions.

Where tape and JAX differ, by design:

- 0 times anything is 0, and 0 over anything, also where JAX gives NaN (0 times infinity).
- Everything is float64. What a function computes in float32 is computed in float64.
- Integers are floats too: exact up to 2^53, without overflow, and an unsigned one may be negative.
  What has no integer (division by the integer 0, conversion of NaN, infinity or a number out of the
  type's range) has none here, where XLA takes the nearest one, or 0, or -1.
- The sign of a zero is not kept everywhere, nor the order of a sum's terms.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Int

from .tape import CELL, STEP, YES, ZERO, Graph, Op, Tape, assemble

__all__ = ["CALLS", "LONGEST_LOOP", "UNCHANGED", "NotLowered", "lower", "lower_jaxpr"]

LONGEST_LOOP = 256
"""Iterations of a loop that is written out."""

_WIDEST_CHOICE = 64
"""Elements among which a computed index chooses where they are not constants."""

_Nodes = Int[np.ndarray, "..."]


class NotLowered(Exception):
    """A function holds something that a tape cannot.

    Attributes:
        primitive: name of the JAX primitive.
    """

    def __init__(self, primitive: str, reason: str):
        super().__init__(f"{primitive}: {reason}")
        self.primitive = primitive


def lower(function: Callable[..., Any], inputs: Sequence[tuple[tuple[int, ...], int]]) -> Tape:
    """Lowers a pure function of float64 arrays.

    Args:
        function: `function(*arrays)` returns a tuple of groups, each a tuple of arrays (the first
            the rate coefficients, say, the second their derivatives).
        inputs: shape and level (`CELL` or `STEP`) of each array.

    Returns:
        The tape.

    Raises:
        NotLowered: a primitive that a tape has no instructions for; the message names it.
    """
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape, _ in inputs]
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arrays)
    groups = [len(jax.tree_util.tree_leaves(group)) for group in shapes]
    return lower_jaxpr(closed, [level for _, level in inputs], groups)


def lower_jaxpr(closed: Any, levels: Sequence[int], groups: Sequence[int]) -> Tape:
    """Lowers what has been traced already.

    Args:
        closed: a closed jaxpr, as from `jax.make_jaxpr`; its constants have to be concrete.
        levels: `CELL` or `STEP` of each input array.
        groups: how many of the output arrays each group has, in order.

    Returns:
        The tape.

    Raises:
        NotLowered: a primitive that a tape has no instructions for.
        ValueError: a level that is none, or numbers of inputs or outputs that are not the jaxpr's.
    """
    jaxpr = closed.jaxpr
    if len(levels) != len(jaxpr.invars):
        raise ValueError(f"{len(levels)} levels for {len(jaxpr.invars)} input arrays: one for each")
    if not set(levels) <= {CELL, STEP}:
        raise ValueError(f"levels {list(levels)}: an input's is CELL or STEP")
    if sum(groups) != len(jaxpr.outvars):
        raise ValueError(f"groups of {list(groups)} outputs; the jaxpr has {len(jaxpr.outvars)}")
    g = Graph()
    inputs = [g.inputs(v.aval.shape, level) for v, level in zip(jaxpr.invars, levels, strict=True)]
    outputs = iter(_call(g, closed, inputs))
    return assemble(g, inputs, [[next(outputs) for _ in range(n)] for n in groups])


# ---- a jaxpr

UNCHANGED = {"stop_gradient", "copy", "copy_p", "optimization_barrier", "name"}
"""Primitives that give what they are given."""

CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "core_closed_call", "remat", "remat2"),
    *("checkpoint", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
}
"""Primitives that call a jaxpr of theirs."""


def _call(
    g: Graph, closed: Any, args: Sequence[_Nodes], wanted: Sequence[bool] | None = None
) -> list[Any]:
    """Nodes of a jaxpr's outputs, `None` where one is not wanted."""
    jaxpr, literal = getattr(closed, "jaxpr", closed), core.Literal
    wanted = wanted or [True] * len(jaxpr.outvars)
    values = dict(zip(jaxpr.invars, args, strict=True))
    consts = dict(zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True))
    needed = {v for v, w in zip(jaxpr.outvars, wanted, strict=True) if w and type(v) is not literal}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            kept.append((equation, [v in needed for v in equation.outvars]))
            needed.update(v for v in equation.invars if type(v) is not literal)

    def read(v: Any) -> _Nodes:
        if type(v) is literal:
            return g.constants(v.val)
        if v not in values:
            values[v] = g.constants(consts[v])
        return values[v]

    for equation, used in reversed(kept):
        _check_types(equation)
        results = _equation(g, equation, [read(v) for v in equation.invars], used)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(v) if w else None for v, w in zip(jaxpr.outvars, wanted, strict=True)]


def _check_types(e: Any) -> None:
    for v in (*e.invars, *e.outvars):
        dtype = getattr(v.aval, "dtype", None)
        if dtype is not None and getattr(dtype, "kind", "O") not in "fiubV":  # V: small floats
            raise NotLowered(
                e.primitive.name,
                f"an array of {dtype}; a tape knows real numbers and truths (split a complex "
                "number, draw random numbers outside)",
            )


def _equation(g: Graph, e: Any, args: list[_Nodes], wanted: list[bool]) -> Sequence[Any]:
    name, how = e.primitive.name, e.params
    if name in UNCHANGED:
        return args
    if name in CALLS:
        inner = (how.get(k) for k in ("jaxpr", "call_jaxpr", "fun_jaxpr"))
        return _call(g, next(x for x in inner if x is not None), args, wanted)
    if name in _MOVES:
        return [_MOVES[name](args[0], how, e.outvars[0].aval.shape)]
    rule = _RULES.get(name)
    known = all(map(g.known, args))
    # JAX itself evaluates constants where there is no rule, or where integers may wrap
    if known and (rule is None or any(v.aval.dtype.kind == "u" for v in e.invars)):
        values = (g.value(x).astype(v.aval.dtype) for x, v in zip(args, e.invars, strict=True))
        with jax.ensure_compile_time_eval():
            result = e.primitive.bind(*map(jnp.asarray, values), **how)
        return [g.constants(x) for x in (result if e.primitive.multiple_results else [result])]
    if rule is None:
        raise NotLowered(name, "a tape has no instruction for this primitive; write it without")
    result = rule(g, e, *args)
    return result if isinstance(result, list) else [np.asarray(result)]


# ---- primitives that only move elements: `move(nodes, parameters, new shape)`


def _cut(x: _Nodes, how: dict[str, Any], _: tuple[int, ...]) -> _Nodes:
    steps = how["strides"] or (1,) * x.ndim
    spans = zip(how["start_indices"], how["limit_indices"], steps, strict=True)
    return x[tuple(slice(*span) for span in spans)]


def _spread(x: _Nodes, how: dict[str, Any], shape: tuple[int, ...]) -> _Nodes:
    sizes = [1] * len(shape)
    for size, d in zip(x.shape, how["broadcast_dimensions"], strict=True):
        sizes[d] = size
    return np.broadcast_to(x.reshape(sizes), shape)


_MOVES: dict[str, Callable[[_Nodes, dict[str, Any], tuple[int, ...]], _Nodes]] = {
    "reshape": lambda x, _, shape: x.reshape(shape),
    "squeeze": lambda x, _, shape: x.reshape(shape),
    "expand_dims": lambda x, _, shape: x.reshape(shape),
    "transpose": lambda x, how, _: x.transpose(how["permutation"]),
    "rev": lambda x, how, _: np.flip(x, how["dimensions"]),
    "tile": lambda x, how, _: np.tile(x, how["reps"]),
    "slice": _cut,
    "broadcast_in_dim": _spread,
}

# ---- the others: `rule(graph, equation, *nodes)`, one array of nodes or a list of them

_RULES: dict[str, Callable[..., Any]] = {
    "square": lambda g, e, x: g(Op.MUL, x, x),
    "integer_pow": lambda g, e, x: _power(g, x, e.params["y"]),
    "exp2": lambda g, e, x: g(Op.POW, 2.0, x),
    "rsqrt": lambda g, e, x: g(Op.DIV, 1.0, g(Op.SQRT, x)),
    "logistic": lambda g, e, x: g(Op.DIV, 1.0, g(Op.ADD, 1.0, g(Op.EXP, g(Op.NEG, x)))),
    "ceil": lambda g, e, x: _ceil(g, x),
    "is_finite": lambda g, e, x: g(Op.LT, g(Op.ABS, x), np.inf),
    "clamp": lambda g, e, low, x, high: g(Op.MIN, g(Op.MAX, x, low), high),
    # x is 0 or NaN where it is neither below nor above
    "sign": lambda g, e, x: g(
        Op.SELECT, g(Op.LT, x, 0.0), g(Op.SELECT, g(Op.GT, x, 0.0), x, 1.0), -1.0
    ),
    # in order, NaN comes after all
    "lt_to": lambda g, e, a, b: g(Op.OR, g(Op.LT, a, b), g(Op.AND, g(Op.NE, b, b), g(Op.EQ, a, a))),
    "le_to": lambda g, e, a, b: g(Op.OR, g(Op.LE, a, b), g(Op.NE, b, b)),
    "eq_to": lambda g, e, a, b: g(Op.OR, g(Op.EQ, a, b), g(Op.AND, g(Op.NE, a, a), g(Op.NE, b, b))),
    "concatenate": lambda g, e, *parts: np.concatenate(parts, axis=e.params["dimension"]),
    "stack": lambda g, e, *parts: np.stack(parts, axis=e.params["axis"]),
    "unstack": lambda g, e, x: list(np.moveaxis(x, e.params["axis"], 0)),
    "split": lambda g, e, x: np.split(x, np.cumsum(e.params["sizes"])[:-1], e.params["axis"]),
}


def _rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return keep


_DIRECT = {
    op.name.lower(): op
    for op in Op
    if op not in (Op.DIV, Op.FMA, Op.POW, Op.SELECT, Op.TAKE, Op.ROUND)
} | {"add_any": Op.ADD}
"""Primitives that are one opcode."""

_ON_TRUTHS = {
    **{"add": Op.OR, "add_any": Op.OR, "max": Op.OR, "or": Op.OR, "not": Op.NOT},
    **{"mul": Op.AND, "min": Op.AND, "and": Op.AND, "ne": Op.XOR, "xor": Op.XOR},
}


@_rule(*_DIRECT)
def _direct(g: Graph, e: Any, *args: _Nodes) -> _Nodes:
    name, truths = e.primitive.name, e.invars[0].aval.dtype.kind == "b"
    if truths and name == "eq":
        return g(Op.NOT, g(Op.XOR, *args))
    if truths and name not in _ON_TRUTHS:
        raise NotLowered(name, "not defined for truths here; convert them to numbers")
    if not truths and name in ("and", "or", "xor", "not"):
        raise NotLowered(name, "bits of an integer; a tape has truths only")
    return g(_ON_TRUTHS[name] if truths else _DIRECT[name], *args)


def _ceil(g: Graph, x: _Nodes) -> _Nodes:
    return g(Op.NEG, g(Op.FLOOR, g(Op.NEG, x)))


def _truncate(g: Graph, x: _Nodes) -> _Nodes:
    return g(Op.SELECT, g(Op.LT, x, 0.0), g(Op.FLOOR, x), _ceil(g, x))


def _power(g: Graph, x: _Nodes, n: int) -> _Nodes:
    """x^n by squaring."""
    if n < 0:
        return g(Op.DIV, 1.0, _power(g, x, -n))
    result = np.broadcast_to(g.constants(1.0), x.shape)
    while n:
        if n & 1:
            result = g(Op.MUL, result, x)
        n >>= 1
        if n:
            x = g(Op.MUL, x, x)
    return result


@_rule("pow")
def _pow(g: Graph, e: Any, x: _Nodes, y: _Nodes) -> _Nodes:
    base, exponent = np.broadcast_arrays(x, y)
    out = np.empty(base.shape, np.int32)
    for node in np.unique(np.minimum(exponent, 1)).tolist():  # 1: all that are computed
        at = np.minimum(exponent, 1) == node
        n = float(g.value(node)) if node <= 0 else math.nan
        if abs(n) <= 8 and n == round(n):
            out[at] = _power(g, base[at], int(n))
        elif n == 0.5:
            out[at] = g(Op.SQRT, base[at])
        else:
            out[at] = g(Op.POW, base[at], exponent[at])
    return out


@_rule("div")
def _div(g: Graph, e: Any, a: _Nodes, b: _Nodes) -> _Nodes:
    quotient = g(Op.DIV, a, b)
    return _truncate(g, quotient) if e.outvars[0].aval.dtype.kind in "iu" else quotient


@_rule("round")
def _round(g: Graph, e: Any, x: _Nodes) -> _Nodes:
    if int(e.params["rounding_method"]) == 1:
        return g(Op.ROUND, x)
    # halves away from zero; x - trunc(x) is exact, x + 1/2 is not
    whole = _truncate(g, x)
    further = g(Op.GE, g(Op.ABS, g(Op.SUB, x, whole)), 0.5)
    step = g(Op.SELECT, g(Op.LT, x, 0.0), 1.0, -1.0)
    return g(Op.SELECT, further, whole, g(Op.ADD, whole, step))


@_rule("convert_element_type")
def _convert(g: Graph, e: Any, x: _Nodes) -> _Nodes:
    old, new = e.invars[0].aval.dtype.kind, e.outvars[0].aval.dtype.kind
    if old == "b" and new != "b":
        return g(Op.SELECT, x, 0.0, 1.0)
    if old != "b" and new == "b":
        return g(Op.NE, x, 0.0)
    return _truncate(g, x) if new in "iu" and old not in "iub" else x


@_rule("iota")
def _iota(g: Graph, e: Any) -> _Nodes:
    shape, d = e.params["shape"], e.params["dimension"]
    along = g.constants(np.arange(shape[d]))
    return np.broadcast_to(along.reshape([-1 if k == d else 1 for k in range(len(shape))]), shape)


@_rule("pad")
def _pad(g: Graph, e: Any, x: _Nodes, void: _Nodes) -> _Nodes:
    out, takes, puts = np.full(e.outvars[0].aval.shape, void, np.int32), [], []
    for size, end, (low, _, between) in zip(
        x.shape, out.shape, e.params["padding_config"], strict=True
    ):
        at = low + (between + 1) * np.arange(size)
        inside = (at >= 0) & (at < end)
        takes.append(np.flatnonzero(inside))
        puts.append(at[inside])
    out[np.ix_(*puts)] = x[np.ix_(*takes)]
    return out


_REDUCTIONS = {
    **{"reduce_sum": (Op.ADD, 0.0), "reduce_prod": (Op.MUL, 1.0)},
    **{"reduce_max": (Op.MAX, -np.inf), "reduce_min": (Op.MIN, np.inf)},
    **{"reduce_and": (Op.AND, np.True_), "reduce_or": (Op.OR, np.False_)},
}


@_rule(*_REDUCTIONS)
def _reduce(g: Graph, e: Any, x: _Nodes) -> _Nodes:
    name, truths = e.primitive.name, e.invars[0].aval.dtype.kind == "b"
    if not truths and name in ("reduce_and", "reduce_or"):
        raise NotLowered(name, "bits of an integer; a tape has truths only")
    if truths:  # false before true
        name = name.replace("min", "and").replace("max", "or")
        if name not in ("reduce_and", "reduce_or"):
            raise NotLowered(name, "not defined for truths here; convert them to numbers")
    op, start = _REDUCTIONS[name]
    shape, axes = e.outvars[0].aval.shape, e.params["axes"]
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(math.prod(shape), -1)
    if not rows.size:
        return np.broadcast_to(g.constants(start), shape)
    sums, _ = g.combine(op, rows.ravel(), np.arange(rows.size) // rows.shape[1])
    return sums.reshape(shape)


@_rule("argmax", "argmin")
def _extreme(g: Graph, e: Any, x: _Nodes) -> _Nodes:
    """The first place of the largest or the smallest, or of what is not a number."""
    if e.invars[0].aval.dtype.kind == "b":
        x = g(Op.SELECT, x, 0.0, 1.0)
    (axis,) = e.params["axes"]
    rows = np.moveaxis(x, axis, 0)
    beyond = Op.GT if e.primitive.name == "argmax" else Op.LT
    best, place = rows[0], np.broadcast_to(g.constants(0.0), rows[0].shape)
    for n, row in enumerate(rows[1:], start=1):
        unknown = g(Op.AND, g(Op.NE, row, row), g(Op.EQ, best, best))
        better = g(Op.OR, g(beyond, row, best), unknown)
        best = g(Op.SELECT, better, best, row)
        place = g(Op.SELECT, better, place, float(n))
    return place


_CUMULATIVE = {"cumsum": Op.ADD, "cumprod": Op.MUL, "cummax": Op.MAX, "cummin": Op.MIN}


@_rule(*_CUMULATIVE)
def _cumulative(g: Graph, e: Any, x: _Nodes) -> _Nodes:
    out = np.moveaxis(x, e.params["axis"], 0).copy()
    if e.params["reverse"]:
        out = out[::-1]
    for n in range(1, len(out)):
        out[n] = g(_CUMULATIVE[e.primitive.name], out[n - 1], out[n])
    if e.params["reverse"]:
        out = out[::-1]
    return np.moveaxis(out, 0, e.params["axis"])


@_rule("dot_general")
def _dot_general(g: Graph, e: Any, left: _Nodes, right: _Nodes) -> _Nodes:
    """Products of what is not zero on both sides, summed by place."""
    (over, batch), shape = e.params["dimension_numbers"], e.outvars[0].aval.shape

    def matrices(x: _Nodes, contracted: Sequence[int], shared: Sequence[int]) -> np.ndarray:
        """[shared, own, contracted]"""
        own = [d for d in range(x.ndim) if d not in (*contracted, *shared)]
        sizes = [math.prod(x.shape[d] for d in axes) for axes in (shared, own, contracted)]
        return x.transpose(*shared, *own, *contracted).reshape(sizes)

    a, b = (matrices(x, c, s) for x, c, s in zip((left, right), over, batch, strict=True))
    (p, i, k), (q, j, m) = np.nonzero(a), np.nonzero(b)
    # entries with the same shared and contracted index meet
    mine, theirs = p * a.shape[2] + k, q * a.shape[2] + m
    order = np.argsort(theirs, kind="stable")
    first = np.searchsorted(theirs[order], mine, "left")
    count = np.searchsorted(theirs[order], mine, "right") - first
    one = np.repeat(np.arange(mine.size), count)
    other = order[np.arange(one.size) - np.repeat(np.cumsum(count) - count - first, count)]
    products = g(Op.MUL, a[p, i, k][one], b[q, j, m][other])
    places = (p[one] * a.shape[1] + i[one]) * b.shape[1] + j[other]
    sums, places = g.combine(Op.ADD, products, places)
    out = np.zeros(math.prod(shape), np.int32)
    out[places] = sums
    return out.reshape(shape)


# ---- indices


class _Windows(NamedTuple):
    """Elements of an array that a gather reads, or a scatter writes.

    Each index of a batch begins a window; the result (or the updates) has the axes of the batch and
    those of a window.

    Attributes:
        places: of each in the flat array, without computed indices; broadcasts to the result.
        valid: node of each: true unless its window leaves the array.
        moved: nodes that add to `places`, from computed indices; `None` where there are none.
        most: the largest number that can be.
        step: what all are multiples of.
    """

    places: Int[np.ndarray, "..."]
    valid: _Nodes
    moved: _Nodes | None
    most: int
    step: int


def _windows(
    g: Graph,
    shape: tuple[int, ...],
    sizes: Sequence[int],
    axes: Sequence[int],
    indexed: Sequence[int],
    indices: _Nodes,
    gone: Iterable[int] = (),
    shared: Sequence[tuple[int, int]] = (),
    mode: Any = "clip",
) -> _Windows:
    """Where windows are.

    Args:
        g: graph.
        shape: the array's.
        sizes: of a window, along each of the array's axes.
        axes: of the result, those that run within a window.
        indexed: axes of the array that the indices' last axis stands for.
        indices: [batch, n].
        gone: axes of the array along which a window has no axis.
        shared: pairs of axes, of the array and of the batch, that run together.
        mode: whether windows that leave the array are void; otherwise they are moved inside.
    """
    rank = indices.ndim - 1 + len(axes)
    strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    within = [d for d in range(len(shape)) if d not in {*gone, *(d for d, _ in shared)}]
    batch = [k for k in range(rank) if k not in axes]
    runs = [(d, sizes[d], k) for d, k in zip(within, axes, strict=True)]
    runs += [(d, shape[d], batch[k]) for d, k in shared]
    places = np.zeros((1,) * rank, int)
    for d, size, at in runs:
        along = np.arange(size).reshape([-1 if k == at else 1 for k in range(rank)])
        places = places + strides[d] * along
    valid, moved, most, step = np.full((1,) * rank, YES, np.int32), None, 0, 0
    for n, d in enumerate(indexed):
        index, last = np.expand_dims(indices[..., n], tuple(axes)), float(shape[d] - sizes[d])
        if mode is None or "FILL" in str(mode).upper():
            inside = g(Op.AND, g(Op.GE, index, 0.0), g(Op.LE, index, last))
            valid = g(Op.AND, valid, inside)
        index = g(Op.MIN, g(Op.MAX, index, 0.0), last)
        if g.known(index):
            places = places + strides[d] * g.value(index).astype(int)
        else:
            index = g(Op.MUL, index, float(strides[d]))
            moved = index if moved is None else g(Op.ADD, moved, index)
            most, step = most + int(last) * strides[d], math.gcd(step, strides[d])
    return _Windows(places, valid, moved, most, step)


def _read(g: Graph, e: Any, array: _Nodes, w: _Windows, fill: Any = 0.0) -> _Nodes:
    shape, flat = e.outvars[0].aval.shape, array.reshape(-1)
    void, places = g.constants(float(fill)), np.broadcast_to(w.places, shape)
    if not flat.size:
        return np.broadcast_to(void, shape)
    if w.moved is None:
        out = flat[places]
    elif g.known(flat):
        out = g.take(g.value(flat), np.broadcast_to(w.moved, shape), w.most + 1, places)
    elif w.most // w.step >= _WIDEST_CHOICE:
        raise NotLowered(
            e.primitive.name,
            f"a computed index among {w.most // w.step + 1} computed elements; at most "
            f"{_WIDEST_CHOICE}, or make the array a constant",
        )
    else:
        out = flat[places]
        for n in range(w.step, w.most + 1, w.step):
            beyond = flat[np.minimum(places + n, flat.size - 1)]
            out = g(Op.SELECT, g(Op.GE, w.moved, float(n)), out, beyond)
    return g(Op.SELECT, w.valid, void, out)


def _write(
    g: Graph, e: Any, array: _Nodes, w: _Windows, updates: _Nodes, op: Op | None = None
) -> _Nodes:
    if w.moved is not None:
        return _write_moved(g, e, array, w, updates, op)
    inside = np.broadcast_to(w.valid != ZERO, updates.shape)
    places, updates = np.broadcast_to(w.places, updates.shape)[inside], updates[inside]
    out = array.reshape(-1).copy()
    if op is not None:
        touched = np.unique(places)
        updates, places = g.combine(
            op, np.concatenate([out[touched], updates]), np.concatenate([touched, places])
        )
    out[places] = updates
    return out.reshape(array.shape)


def _write_moved(
    g: Graph, e: Any, array: _Nodes, w: _Windows, updates: _Nodes, op: Op | None
) -> _Nodes:
    """Updates whose places are computed: each place that one may have takes it, or does not."""
    assert w.moved is not None
    choices, out = np.arange(0, w.most + 1, w.step), array.reshape(-1).copy()
    if updates.size * choices.size > _WIDEST_CHOICE:
        raise NotLowered(
            e.primitive.name,
            f"{updates.size} updates among {choices.size} computed places; at most "
            f"{_WIDEST_CHOICE} in all",
        )
    spread = (np.broadcast_to(part, updates.shape) for part in (w.places, w.valid, w.moved))
    for place, valid, moved, update in zip(*map(np.ravel, (*spread, updates)), strict=True):
        at = place + choices
        some = choices[at < out.size]  # what is beyond is never reached
        at = place + some
        here = g(Op.AND, valid, g(Op.EQ, moved, g.constants(some)))
        out[at] = g(Op.SELECT, here, out[at], update if op is None else g(op, out[at], update))
    return out.reshape(array.shape)


@_rule("gather")
def _gather(g: Graph, e: Any, array: _Nodes, indices: _Nodes) -> _Nodes:
    how, d, dtype = e.params, e.params["dimension_numbers"], e.outvars[0].aval.dtype
    w = _windows(
        g,
        array.shape,
        how["slice_sizes"],
        d.offset_dims,
        d.start_index_map,
        indices,
        d.collapsed_slice_dims,
        tuple(zip(d.operand_batching_dims, d.start_indices_batching_dims, strict=True)),
        how["mode"],
    )
    fill = how.get("fill_value")
    if fill is None:
        limits = {"i": lambda: np.iinfo(dtype).min, "u": lambda: np.iinfo(dtype).max}
        fill = limits.get(dtype.kind, lambda: np.nan)()
    return _read(g, e, array, w, fill)


@_rule("dynamic_slice")
def _dynamic_slice(g: Graph, e: Any, array: _Nodes, *starts: _Nodes) -> _Nodes:
    axes, sizes = range(array.ndim), e.params["slice_sizes"]
    return _read(g, e, array, _windows(g, array.shape, sizes, axes, axes, np.stack(starts, -1)))


@_rule("dynamic_update_slice")
def _dynamic_update_slice(
    g: Graph, e: Any, array: _Nodes, update: _Nodes, *starts: _Nodes
) -> _Nodes:
    axes = range(array.ndim)
    w = _windows(g, array.shape, update.shape, axes, axes, np.stack(starts, -1))
    return _write(g, e, array, w, update)


_SCATTERS = {
    "scatter": None,
    **dict.fromkeys(("scatter-add", "scatter_add"), Op.ADD),
    **dict.fromkeys(("scatter-mul", "scatter_mul"), Op.MUL),
    **dict.fromkeys(("scatter-max", "scatter_max"), Op.MAX),
    **dict.fromkeys(("scatter-min", "scatter_min"), Op.MIN),
}


@_rule(*_SCATTERS)
def _scatter(g: Graph, e: Any, array: _Nodes, indices: _Nodes, updates: _Nodes) -> _Nodes:
    d, joined = e.params["dimension_numbers"], e.params["update_jaxpr"]
    applied = joined is not None and joined.outvars[0] is not joined.invars[1]
    if e.primitive.name == "scatter" and applied:
        raise NotLowered(e.primitive.name, "a function applied to what stands there")
    gone = {*d.inserted_window_dims, *d.operand_batching_dims}
    lengths = iter(updates.shape[k] for k in d.update_window_dims)
    w = _windows(
        g,
        array.shape,
        [1 if k in gone else next(lengths) for k in range(array.ndim)],
        d.update_window_dims,
        d.scatter_dims_to_operand_dims,
        indices,
        d.inserted_window_dims,
        tuple(zip(d.operand_batching_dims, d.scatter_indices_batching_dims, strict=True)),
        e.params["mode"],
    )
    return _write(g, e, array, w, updates, _SCATTERS[e.primitive.name])


# ---- choices and loops


def _choose(g: Graph, e: Any, which: _Nodes, cases: Sequence[_Nodes]) -> _Nodes:
    """The case of that number; the last beyond it, the first before."""
    if e.invars[0].aval.dtype.kind == "b":
        return g(Op.SELECT, which, *cases)
    chosen = cases[0]
    for n, case in enumerate(cases[1:], start=1):
        chosen = g(Op.SELECT, g(Op.GE, which, float(n)), chosen, case)
    return chosen


@_rule("select_n")
def _select_n(g: Graph, e: Any, which: _Nodes, *cases: _Nodes) -> _Nodes:
    return cases[0] if len(cases) == 1 else _choose(g, e, which, cases)


@_rule("cond")
def _cond(g: Graph, e: Any, which: _Nodes, *args: _Nodes) -> list[Any]:
    branches = e.params["branches"]
    if g.known(which):
        truth = e.invars[0].aval.dtype.kind == "b"
        number = int(which != ZERO) if truth else int(g.value(which))
        return _call(g, branches[min(max(number, 0), len(branches) - 1)], args)
    results = [_call(g, branch, args) for branch in branches]
    return [_choose(g, e, which, cases) for cases in zip(*results, strict=True)]


@_rule("scan")
def _scan(g: Graph, e: Any, *args: _Nodes) -> list[Any]:
    how, length = e.params, e.params["length"]
    if length > LONGEST_LOOP:
        raise NotLowered(
            e.primitive.name,
            f"{length} iterations; loops are written out up to {LONGEST_LOOP}. Use array "
            "operations, or fewer iterations",
        )
    fixed, carried = how["num_consts"], how["num_carry"]
    carry, rows = list(args[fixed : fixed + carried]), args[fixed + carried :]
    stacked: list[Any] = [np.empty(v.aval.shape, np.int32) for v in e.outvars[carried:]]
    for n in reversed(range(length)) if how["reverse"] else range(length):
        row = [np.asarray(x[n]) for x in rows]
        results = _call(g, how["jaxpr"], [*args[:fixed], *carry, *row])
        carry = results[:carried]
        for out, x in zip(stacked, results[carried:], strict=True):
            out[n] = x
    return [*carry, *stacked]


def _trailing(x: np.ndarray, rank: int) -> np.ndarray:
    return x.reshape(x.shape + (1,) * (rank - x.ndim))


@_rule("while")
def _while(g: Graph, e: Any, *args: _Nodes) -> list[Any]:
    how = e.params
    tests, steps = how["cond_nconsts"], how["cond_nconsts"] + how["body_nconsts"]
    carry = list(args[steps:])
    for _ in range(LONGEST_LOOP + 1):
        (more,) = _call(g, how["cond_jaxpr"], [*args[:tests], *carry])
        if not g.known(more):
            raise NotLowered(
                e.primitive.name,
                "how often it runs depends on an input; use a fixed number of iterations, or "
                "jnp.where",
            )
        if not more.any():
            return carry
        new = _call(g, how["body_jaxpr"], [*args[tests:steps], *carry])
        if more.ndim:  # members of a batch: those that are done stay as they are
            masks = [np.broadcast_to(_trailing(more, x.ndim), x.shape) for x in new]
            new = [g(Op.SELECT, m, x, y) for m, x, y in zip(masks, carry, new, strict=True)]
        carry = new
    raise NotLowered(
        e.primitive.name, f"loops are written out up to {LONGEST_LOOP} iterations; use fewer"
    )
