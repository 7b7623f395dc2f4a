"""A JAX function as C: its jaxpr, primitive by primitive, as loops over arrays.

A program works on `lanes` cells at once, which are the last axis of every array, so that whatever
the function does with one cell is a loop over the cells inside. Data movement makes no code: an
array that is sliced, transposed, repeated or gathered at known places is the same array at other
positions, which are learnt by running the primitive on positions in place of numbers.

Where an index is out of range, or a number is converted to an integer that cannot hold it, C has
no result; programs clamp indices, and leave such conversions to the processor.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from ..solvers.lowering import CALLS, LONGEST_LOOP, UNCHANGED
from .c_text import TYPES, Constants, number

__all__ = ["HEAD", "LANES", "NotWrittenError", "Program", "program"]

LANES = 16
"""Cells that a program for many works on at once."""

_WIDE = 16
"""Columns of a matrix that are multiplied together; tables of matrices are filled up to it."""

HEAD = """#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(128), aligned(8), may_alias));
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wpsabi"
#define APART _Pragma("GCC ivdep")
#else
#define APART
#endif
"""
"""What stands before programs. Arrays that are in use at once do not overlap."""


class NotWrittenError(ValueError):
    """A function holds something that has no C here.

    Attributes:
        primitive: name of the JAX primitive.
    """

    def __init__(self, primitive: str, reason: str):
        super().__init__(f"{primitive}: {reason}")
        self.primitive = primitive


class Program(NamedTuple):
    """A function in C: `static void name(char *work, const double *in0, ..., double *out0, ...)`.

    Attributes:
        text: its source.
        work: bytes that it wants to work in.
    """

    text: str
    work: int


def program(
    name: str,
    function: Callable[..., tuple[Any, ...]],
    shapes: Sequence[tuple[int, ...]],
    constants: Constants,
    lanes: int = 1,
) -> Program:
    """Writes a function of arrays of float64.

    Args:
        name: of the C function.
        function: gives a tuple of arrays.
        shapes: of its arguments.
        constants: takes the tables; programs that share it share them.
        lanes: cells it works on at once, 1 or `LANES`; all its arrays are [size][lanes].

    Raises:
        NotWrittenError: a primitive that has no C.
    """
    closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(s, jnp.float64) for s in shapes))
    writer = _Writer(constants, lanes)
    heads = [f"const double *in{n}" for n in range(len(shapes))]
    inputs = [_Value(_positions(shape), f"in{n}", "float64") for n, shape in enumerate(shapes)]
    for n, value in enumerate(writer.run(closed.jaxpr, closed.consts, inputs)):
        writer.copy(f"out{n}", value)
        heads.append(f"double *out{n}")
    declared, work = writer.arrays_in_place()
    unused = "".join(f", (void)in{n}" for n in range(len(shapes)))
    body = "\n".join(f"  {line}" for line in (*declared, *writer.lines))
    head = f"static void {name}(char *work, {', '.join(heads)})"
    text = f"{head} {{\n  (void)work{unused};\n{body}\n}}\n"
    return Program(text, work)


class _Value(NamedTuple):
    """An array of the function: known numbers, or positions in an array of the program."""

    data: np.ndarray
    array: str | None
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def seen(self, view: Callable[[np.ndarray], np.ndarray]) -> "_Value":
        """The same elements in another arrangement."""
        return self._replace(data=view(self.data))


def _positions(shape: Sequence[int]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


def _known(value: Any, dtype: Any = None) -> _Value:
    value = np.asarray(value, dtype)
    return _Value(value, None, value.dtype.name)


_FUNCTIONS = {
    **{n: n for n in ("exp", "exp2", "log", "log1p", "expm1", "tanh", "sqrt", "cbrt", "floor")},
    **{n: n for n in ("ceil", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh")},
    **{n: n for n in ("asinh", "acosh", "atanh", "erf", "erfc", "pow", "atan2", "nextafter")},
    "rem": "fmod",
}
"""Primitives that are functions of libm."""

_SIMPLE = {
    **{"add": "{0} + {1}", "add_any": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}"},
    **{"div": "{0} / {1}", "neg": "-{0}", "square": "{0} * {0}", "lt": "{0} < {1}"},
    **{"le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}"},
    **{"ne": "{0} != {1}", "and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}"},
    # in order, NaN comes after all
    "lt_to": "{0} < {1} || ({1} != {1} && {0} == {0})",
    "le_to": "{0} <= {1} || {1} != {1}",
    "eq_to": "{0} == {1} || ({0} != {0} && {1} != {1})",
    "max": "{0} > {1} || {0} != {0} ? {0} : {1}",
    "min": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "rsqrt": "1 / sqrt{f}({0})",
    "logistic": "1 / (1 + exp{f}(-{0}))",
    "clamp": "{1} < {0} ? {0} : {1} > {2} ? {2} : {1}",
    "is_finite": "isfinite({0}) != 0",
    "sign": "{0} > 0 ? 1 : {0} < 0 ? -1 : {0}",
}
"""Others, as expressions."""

_MOVES = {
    **dict.fromkeys(("broadcast_in_dim", "transpose", "slice", "reshape", "squeeze", "rev"), 1),
    **dict.fromkeys(("expand_dims", "tile", "split", "unstack", "gather", "dynamic_slice"), 1),
    **{"pad": 2, "dynamic_update_slice": 2, "concatenate": None, "stack": None},
}
"""Primitives that move numbers, and how many of their operands, the first ones, these are."""

_SAME = {*UNCHANGED, "reduce_precision"}

_REDUCTIONS = {
    "reduce_sum": (0, "{0} + {1}"),
    "reduce_prod": (1, "{0} * {1}"),
    "reduce_max": (-np.inf, _SIMPLE["max"]),
    "reduce_min": (np.inf, _SIMPLE["min"]),
    "reduce_and": (1, "{0} & {1}"),
    "reduce_or": (0, "{0} | {1}"),
}
"""What each makes of nothing, and of two."""

_RUNNING = {"cumsum": "add", "cumprod": "mul", "cummax": "max", "cummin": "min"}


class _Writer:
    def __init__(self, constants: Constants, lanes: int):
        self.constants, self.lanes = constants, lanes
        self.lines: list[str] = []
        self.sizes: dict[str, tuple[str, int]] = {}
        self.loops: list[tuple[int, int]] = []

    # ---- arrays

    def fresh(self, shape: Sequence[int], dtype: str, room: int = 0) -> _Value:
        """A new array, of more elements than its shape has where it wants more room."""
        if dtype not in TYPES:
            raise NotWrittenError("array", f"an array of {dtype} has no type in C here")
        name = f"v{len(self.sizes)}"
        self.sizes[name] = (TYPES[dtype], max(room, math.prod(shape)) * self.lanes)
        return _Value(_positions(shape), name, dtype)

    def arrays_in_place(self) -> tuple[list[str], int]:
        """Declarations of all arrays in one piece of memory, and how long it is.

        An array has its place from the first line that names it to the last, or throughout the
        loops that either is in.
        """
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for n, line in enumerate(self.lines):
            for name in re.findall(r"\bv\d+\b", line):
                first.setdefault(name, n)
                last[name] = n
        changed = True
        while changed:  # loops may stand in loops
            changed = False
            for start, end in self.loops:
                for name in first:
                    if first[name] <= end and last[name] >= start:
                        span = min(first[name], start), max(last[name], end)
                        changed |= span != (first[name], last[name])
                        first[name], last[name] = span
        placed: list[tuple[int, int, str]] = []
        declared, most = [], 0
        for name in sorted(first, key=lambda name: first[name]):
            kind, count = self.sizes[name]
            size = -(-count * _BYTES[kind] // 64) * 64
            placed = [p for p in placed if last[p[2]] >= first[name]]
            at = 0
            for start, end, _ in sorted(placed):
                if at + size <= start:
                    break
                at = max(at, end)
            placed.append((at, at + size, name))
            most = max(most, at + size)
            declared.append(f"{kind} *const {name} = ({kind} *)(work + {at});")
        return declared, most

    def place(self, data: np.ndarray, by: Sequence[str]) -> str:
        """Positions as an expression of the variables of the loops over their axes."""
        base = int(data.flat[0])
        strides = [
            int(np.take(data, 1, axis).flat[0]) - base if size > 1 else 0
            for axis, size in enumerate(data.shape)
        ]
        line = base + sum(
            (
                s * _along(size, d, data.ndim)
                for d, (s, size) in enumerate(zip(strides, data.shape, strict=True))
            ),
            np.zeros(data.shape, int),
        )
        if not np.array_equal(line, data):
            table = self.constants.table(data.astype(np.int32))
            flat = self.place(_positions(data.shape), by)
            return f"{table}[{flat}]"
        terms = [f"{s} * {v}" if s != 1 else v for s, v in zip(strides, by, strict=True) if s]
        return " + ".join([*terms, *([str(base)] if base or not terms else [])])

    def at(self, value: _Value, by: Sequence[str]) -> str:
        """An element, in loops over the axes of the value and, as `b`, over the lanes."""
        if value.array is None:
            data = value.data
            if (data == data.flat[0]).all() or data.size == 1:
                return number(data.flat[0])
            return f"{self.constants.table(data)}[{self.place(_positions(data.shape), by)}]"
        where = self.place(value.data, by)
        return f"{value.array}[{self.lane(where)}]"

    def lane(self, where: str) -> str:
        return where if self.lanes == 1 else f"({where}) * {self.lanes} + b"

    def each(self, sizes: Sequence[int], by: Sequence[str], body: str) -> str:
        """Loops, the innermost over the lanes."""
        loops = [f"for (int {v} = 0; {v} < {n}; {v}++) " for v, n in zip(by, sizes, strict=True)]
        if self.lanes > 1:
            loops.append(f"for (int b = 0; b < {self.lanes}; b++) ")
        return "".join(loops[:-1]) + ("APART " + loops[-1] if loops else "") + body

    def copy(self, array: str, value: _Value, at: np.ndarray | None = None) -> None:
        """Puts a value into an array, in order or at these positions."""
        if not value.data.size:
            return
        flat = value.seen(np.ravel)
        to = _positions(flat.shape) if at is None else np.ravel(at)
        target = self.lane(self.place(to, ["i"]))
        self.lines.append(
            self.each(flat.shape, ["i"], f"{array}[{target}] = {self.at(flat, ['i'])};")
        )

    def solid(self, value: _Value) -> _Value:
        """The same in an array of its own, in order."""
        whole = self.fresh(value.shape, value.dtype)
        self.copy(str(whole.array), value)
        return whole

    def elementwise(
        self, shape: Sequence[int], dtype: str, text: str, parts: Sequence[_Value]
    ) -> _Value:
        """What an expression of `{0}`, `{1}`, ... makes of operands; axes of length 1 broadcast."""
        out = self.fresh(shape, dtype)
        if not out.data.size:
            return out
        parts = [p.seen(lambda d: np.broadcast_to(d, shape)) for p in parts]
        flat = [p.seen(np.ravel) for p in parts]
        lines = all(p.array is None or _straight(p.data) for p in flat)
        parts, sizes = (flat, [out.data.size]) if lines else (parts, list(shape))
        by = [f"i{d}" for d in range(len(sizes))]
        given = [self.at(p, by) for p in parts]
        to = self.lane(self.place(_positions(sizes), by))
        f = "f" if dtype == "float32" else ""
        told = text.format(*given, f=f)
        self.lines.append(self.each(sizes, by, f"{out.array}[{to}] = {told};"))
        return out

    # ---- a jaxpr

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[_Value]) -> list[_Value]:
        known = {v: _known(c) for v, c in zip(jaxpr.constvars, consts, strict=True)}
        env: dict[Any, _Value] = known | dict(zip(jaxpr.invars, args, strict=True))
        needed = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
        kept = []
        for e in reversed(jaxpr.eqns):
            if not needed.isdisjoint(e.outvars):
                kept.append(e)
                needed.update(v for v in e.invars if not isinstance(v, Literal))

        def read(v: Any) -> _Value:
            return (
                _known(v.val, getattr(v.aval, "dtype", None)) if isinstance(v, Literal) else env[v]
            )

        for e in reversed(kept):
            env.update(zip(e.outvars, self.equation(e, [read(v) for v in e.invars]), strict=True))
        return [read(v) for v in jaxpr.outvars]

    def call(self, closed: Any, args: Sequence[_Value]) -> list[_Value]:
        return self.run(getattr(closed, "jaxpr", closed), getattr(closed, "consts", ()), args)

    def equation(self, e: Any, args: list[_Value]) -> Sequence[_Value]:
        name, how = e.primitive.name, e.params
        if name in _SAME:
            return args
        if name in CALLS:
            inner = (how.get(k) for k in ("jaxpr", "call_jaxpr", "fun_jaxpr"))
            return self.call(next(x for x in inner if x is not None), args)
        if "callback" not in name and all(a.array is None for a in args):
            with jax.ensure_compile_time_eval():
                found = e.primitive.bind(*(jnp.asarray(a.data) for a in args), **how)
            return [_known(x) for x in (found if e.primitive.multiple_results else [found])]
        data = _MOVES.get(name) or len(args)
        if name in _MOVES and all(a.array is None for a in args[data:]):
            return self.moved(e, args, data)
        out = e.outvars[0].aval
        shape, dtype = out.shape, out.dtype.name
        if rule := getattr(self, f"_{name.replace('-', '_')}", None):
            return rule(e, args)
        if name in _REDUCTIONS:
            return [self.reduced(e, args[0])]
        if name in _RUNNING:
            return [self.running(e, args[0])]
        text = _SIMPLE.get(name)
        if name in _FUNCTIONS:
            text = f"{_FUNCTIONS[name]}{{f}}({', '.join(f'{{{n}}}' for n in range(len(args)))})"
        if name == "abs":
            text = "fabs{f}({0})" if out.dtype.kind == "f" else "{0} < 0 ? -{0} : {0}"
        if name == "not":
            text = "!{0}" if dtype == "bool" else "~{0}"
        if text is None:
            raise NotWrittenError(name, "there is no C for this primitive of JAX")
        return [self.elementwise(shape, dtype, text, args)]

    def moved(self, e: Any, args: list[_Value], count: int) -> list[_Value]:
        """Data movement, learnt by running the primitive on positions."""
        data, rest, how = args[:count], args[count:], dict(e.params)
        starts = np.cumsum([0, *(a.data.size for a in data)])
        places = [jnp.asarray(s + _positions(a.shape)) for s, a in zip(starts, data, strict=False)]
        if e.primitive.name == "gather":
            how["fill_value"] = -1
        with jax.ensure_compile_time_eval():
            found = e.primitive.bind(*places, *(jnp.asarray(r.data) for r in rest), **how)
        results = found if e.primitive.multiple_results else [found]
        return [self.assembled(e, np.asarray(x), data, starts) for x in results]

    def assembled(
        self, e: Any, where: np.ndarray, data: Sequence[_Value], starts: np.ndarray
    ) -> _Value:
        """An array of elements of others, by their positions in all of them."""
        if (where < 0).any():
            raise NotWrittenError(e.primitive.name, "an index out of its range")
        source = np.searchsorted(starts, where, side="right") - 1
        used = np.unique(source)
        if len(used) == 1:
            (only,) = used
            return data[only].seen(lambda d: d.ravel()[where - starts[only]])
        whole = self.fresh(where.shape, data[0].dtype)
        for n in used:
            at = np.flatnonzero(source.ravel() == n)
            taken = where.ravel()[at] - starts[n]
            self.copy(str(whole.array), data[n].seen(lambda d, t=taken: d.ravel()[t]), at)
        return whole

    # ---- primitives; `_name(equation, operands)`

    def _integer_pow(self, e: Any, args: list[_Value]) -> list[_Value]:
        y, out = e.params["y"], e.outvars[0].aval
        base, n, power = "{0}", abs(y), []
        value = args[0]
        if n > 4:  # by squaring, in arrays
            result, square = None, value
            while n:
                if n & 1:
                    result = (
                        square
                        if result is None
                        else self.elementwise(
                            out.shape, out.dtype.name, "{0} * {1}", [result, square]
                        )
                    )
                n >>= 1
                if n:
                    square = self.elementwise(out.shape, out.dtype.name, "{0} * {0}", [square])
            assert result is not None
            return [
                result
                if y > 0
                else self.elementwise(out.shape, out.dtype.name, "1 / {0}", [result])
            ]
        power = " * ".join([base] * n) or "1"
        text = power if y >= 0 else f"1 / ({power})"
        return [self.elementwise(out.shape, out.dtype.name, text, args)]

    def _round(self, e: Any, args: list[_Value]) -> list[_Value]:
        out = e.outvars[0].aval
        name = "rint" if int(e.params["rounding_method"]) == 1 else "round"
        return [self.elementwise(out.shape, out.dtype.name, f"{name}{{f}}({{0}})", args)]

    def _convert_element_type(self, e: Any, args: list[_Value]) -> list[_Value]:
        out = e.outvars[0].aval
        if out.dtype.name == args[0].dtype:
            return args
        text = "{0} != 0" if out.dtype.name == "bool" else f"({TYPES.get(out.dtype.name)}){{0}}"
        return [self.elementwise(out.shape, out.dtype.name, text, args)]

    def _select_n(self, e: Any, args: list[_Value]) -> list[_Value]:
        out = e.outvars[0].aval
        text = f"{{{len(args) - 1}}}"
        for n in reversed(range(len(args) - 2)):
            text = f"{{0}} == {n} ? {{{n + 1}}} : {text}"
        return [self.elementwise(out.shape, out.dtype.name, text, args)]

    def _cond(self, e: Any, args: list[_Value]) -> list[_Value]:
        index, *given = args
        branches = [self.call(branch, given) for branch in e.params["branches"]]
        results = []
        for v, values in zip(e.outvars, zip(*branches, strict=True), strict=True):
            text = f"{{{len(values)}}}"
            for n in reversed(range(len(values) - 1)):
                text = f"{{0}} {'<=' if n == 0 else '=='} {n} ? {{{n + 1}}} : {text}"
            which = index.seen(lambda d, v=v: d.reshape((1,) * len(v.aval.shape)))
            results.append(
                self.elementwise(v.aval.shape, v.aval.dtype.name, text, [which, *values])
            )
        return results

    def _while(self, e: Any, args: list[_Value]) -> list[_Value]:
        how = e.params
        of_test, of_body = how["cond_nconsts"], how["body_nconsts"]
        carry = [self.solid(x) for x in args[of_test + of_body :]]
        begin = len(self.lines)
        self.lines.append("for (;;) {")
        (go,) = self.call(how["cond_jaxpr"], [*args[:of_test], *carry])
        go = self.solid(go)
        lane = self.lane("0")
        any_ = self.each([], [], f"some |= {go.array}[{lane}];").replace("APART ", "")
        self.lines.append(f"int some = 0; {any_}")
        self.lines.append("if (!some) break;")
        given = args[of_test : of_test + of_body]
        new = [self.solid(x) for x in self.call(how["body_jaxpr"], [*given, *carry])]
        for old, value in zip(carry, new, strict=True):  # a cell that is done stays as it is
            to = self.lane("i")
            move = f"if ({go.array}[{lane}]) {old.array}[{to}] = {value.array}[{to}];"
            self.lines.append(self.each([old.data.size], ["i"], move))
        self.lines.append("}")
        self.loops.append((begin, len(self.lines) - 1))
        return carry

    def _scan(self, e: Any, args: list[_Value]) -> list[_Value]:
        how, jaxpr = e.params, e.params["jaxpr"]
        length, of_all, carried = how["length"], how["num_consts"], how["num_carry"]
        if length > LONGEST_LOOP:
            raise NotWrittenError("scan", f"a loop of {length} iterations; {LONGEST_LOOP} at most")
        given, carry, series = (
            args[:of_all],
            args[of_all : of_all + carried],
            args[of_all + carried :],
        )
        rows: list[list[_Value]] = [[] for _ in range(length)]
        order = range(length)
        for n in reversed(order) if how["reverse"] else order:
            row = [x.seen(lambda d, n=n: d[n]) for x in series]
            found = self.call(jaxpr, [*given, *carry, *row])
            carry, rows[n] = found[:carried], found[carried:]
        stacked = []
        for place, v in enumerate(e.outvars[carried:]):
            parts = [row[place] for row in rows]
            starts = np.cumsum([0, *(p.data.size for p in parts)])
            stacked.append(self.assembled(e, _positions(v.aval.shape), parts, starts))
        return [*carry, *stacked]

    def _dynamic_slice(self, e: Any, args: list[_Value]) -> list[_Value]:
        x, *starts = args
        sizes = e.params["slice_sizes"]
        base = _positions(x.shape)[tuple(slice(0, n) for n in sizes)]
        most = [whole - part for whole, part in zip(x.shape, sizes, strict=True)]
        rows = [s.seen(lambda d: np.broadcast_to(d, sizes)) for s in starts]
        return [self.picked(x, base, rows, most, _strides(x.shape))]

    def _gather(self, e: Any, args: list[_Value]) -> list[_Value]:
        x, index = args
        how, shape = e.params, e.outvars[0].aval.shape
        dims, sizes = how["dimension_numbers"], how["slice_sizes"]
        if getattr(dims, "operand_batching_dims", ()):
            raise NotWrittenError("gather", "an index of its own for each row of a batch")
        still = np.zeros(index.shape, np.int32)
        with jax.ensure_compile_time_eval():
            first = e.primitive.bind(jnp.asarray(_positions(x.shape)), jnp.asarray(still), **how)
        batch = [n for n in range(len(shape)) if n not in dims.offset_dims]
        width = [shape[n] if n in batch else 1 for n in range(len(shape))]
        rows = [
            index.seen(lambda d, q=q: np.broadcast_to(d[..., q].reshape(width), shape))
            for q in range(len(dims.start_index_map))
        ]
        most = [x.shape[d] - sizes[d] for d in dims.start_index_map]
        strides = [_strides(x.shape)[d] for d in dims.start_index_map]
        fills = "FILL" in str(how["mode"]).upper()
        return [self.picked(x, np.asarray(first), rows, most, strides, fills)]

    def picked(
        self,
        x: _Value,
        base: np.ndarray,
        starts: Sequence[_Value],
        most: Sequence[int],
        strides: Sequence[int],
        fills: bool = False,
    ) -> _Value:
        """Elements of x at positions that starts, known when it runs, move."""
        if fills and not x.dtype.startswith("float"):
            raise NotWrittenError("gather", "integers at an index that may be out of range")
        starts = [self.elementwise(s.shape, "int64", "(int64_t){0}", [s]) for s in starts]
        places = []
        for start, last, stride in zip(starts, most, strides, strict=True):
            text = f"({{0}} < 0 ? 0 : {{0}} > {last} ? {last} : {{0}}) * {stride}"
            places.append(self.elementwise(base.shape, "int64", text, [start]))
        text = " + ".join(f"{{{n}}}" for n in range(len(places) + 1))
        at = self.elementwise(base.shape, "int64", text, [_known(base, np.int64), *places])
        if x.array is None:
            source, where = self.constants.table(x.data), "{0}"
        else:
            source, where = str(self.solid(x).array), self.lane("{0}")
        found = self.elementwise(base.shape, x.dtype, f"{source}[{where}]", [at])
        for start, last in zip(starts, most, strict=True) if fills else ():
            text = f"{{0}} < 0 || {{0}} > {last} ? NAN : {{1}}"
            found = self.elementwise(base.shape, x.dtype, text, [start, found])
        return found

    def _scatter(self, e: Any, args: list[_Value]) -> list[_Value]:
        x, index, updates = args
        target = self.targets(e, x, index, updates)
        where = _positions(x.shape)
        where.ravel()[target.ravel()] = x.data.size + _positions(updates.shape).ravel()
        starts = np.array([0, x.data.size])
        return [self.assembled(e, where, [x, updates], starts)]

    def _scatter_add(self, e: Any, args: list[_Value]) -> list[_Value]:
        x, index, updates = args
        whole = self.solid(x)
        at = self.targets(e, x, index, updates).ravel()
        to, given = self.lane(self.place(at, ["i"])), self.at(updates.seen(np.ravel), ["i"])
        add = self.each(at.shape, ["i"], f"{whole.array}[{to}] += {given};")
        self.lines.append(add.replace("APART ", ""))  # several may go to one place
        return [whole]

    def targets(self, e: Any, x: _Value, index: _Value, updates: _Value) -> np.ndarray:
        """The positions that updates go to: where a gather would take them from."""
        if index.array is not None:
            raise NotWrittenError(e.primitive.name, "an index that is known when it runs")
        dims = e.params["dimension_numbers"]
        inserted = dims.inserted_window_dims
        window = iter(updates.shape[d] for d in dims.update_window_dims)
        sizes = tuple(1 if d in inserted else next(window) for d in range(len(x.shape)))
        numbers = jax.lax.GatherDimensionNumbers(
            offset_dims=dims.update_window_dims,
            collapsed_slice_dims=inserted,
            start_index_map=dims.scatter_dims_to_operand_dims,
        )
        if getattr(dims, "operand_batching_dims", ()):
            raise NotWrittenError(e.primitive.name, "an index of its own for each row of a batch")
        with jax.ensure_compile_time_eval():
            found = jax.lax.gather(
                jnp.asarray(_positions(x.shape)),
                jnp.asarray(index.data),
                numbers,
                sizes,
                mode="fill",
                fill_value=-1,
            )
        if (np.asarray(found) < 0).any():
            raise NotWrittenError(e.primitive.name, "an index out of its range")
        return np.asarray(found)

    def reduced(self, e: Any, x: _Value) -> _Value:
        out, axes = e.outvars[0].aval, e.params["axes"]
        nothing, text = _REDUCTIONS[e.primitive.name]
        rows, many = self.columns(x, axes)
        if not many:
            return _known(np.full(out.shape, nothing, out.dtype))
        found = self.fresh(out.shape, out.dtype.name)
        if rows.data.size:
            to = self.lane("i")
            first = self.each(
                [len(rows.data)], ["i"], f"{found.array}[{to}] = {self.at(rows, ['i', '0'])};"
            )
            step = text.format(f"{found.array}[{to}]", self.at(rows, ["i", "k"]))
            inner = f"for (int k = 1; k < {many}; k++) " if self.lanes == 1 else ""
            if self.lanes == 1:
                body = f"{inner}{found.array}[{to}] = {step};"
                self.lines += [first, f"for (int i = 0; i < {len(rows.data)}; i++) {body}"]
            else:
                loops = (
                    f"for (int i = 0; i < {len(rows.data)}; i++) for (int k = 1; k < {many}; k++) "
                )
                self.lines += [first, loops + self.each([], [], f"{found.array}[{to}] = {step};")]
        return found

    def columns(self, x: _Value, axes: Sequence[int]) -> tuple[_Value, int]:
        """As a matrix whose columns run along these axes, and how many it has."""
        kept = [d for d in range(len(x.shape)) if d not in axes]
        many = math.prod(x.shape[d] for d in axes)
        rows = math.prod(x.shape[d] for d in kept)
        return x.seen(lambda d: d.transpose([*kept, *axes]).reshape(rows, many)), many

    def running(self, e: Any, x: _Value) -> _Value:
        axis, back = e.params["axis"], e.params["reverse"]

        def turn(d: np.ndarray) -> np.ndarray:
            return np.flip(d, axis) if back else d

        moved = x.seen(lambda d: np.moveaxis(turn(d), axis, 0))
        rows = [moved.seen(lambda d, n=n: d[n]) for n in range(len(moved.data))]
        text, found = _SIMPLE[_RUNNING[e.primitive.name]], rows[:1]
        for row in rows[1:]:
            found.append(self.elementwise(row.shape, x.dtype, text, [found[-1], row]))
        starts = np.cumsum([0, *(r.data.size for r in found)])
        whole = self.assembled(e, _positions(moved.shape), found, starts)
        return whole.seen(lambda d: turn(np.moveaxis(d, 0, axis)))

    def _argmax(self, e: Any, args: list[_Value]) -> list[_Value]:
        return [self.extreme(e, args[0], ">")]

    def _argmin(self, e: Any, args: list[_Value]) -> list[_Value]:
        return [self.extreme(e, args[0], "<")]

    def extreme(self, e: Any, x: _Value, better: str) -> _Value:
        out = e.outvars[0].aval
        rows, many = self.columns(x, e.params["axes"])
        best = rows.seen(lambda d: d[:, 0])
        place = _known(np.zeros(len(rows.data), out.dtype))
        for n in range(1, many):
            row = rows.seen(lambda d, n=n: d[:, n])
            text = f"{{0}} == {{0}} && ({{1}} {better} {{0}} || {{1}} != {{1}}) ? {n} : {{2}}"
            place = self.elementwise(place.shape, out.dtype.name, text, [best, row, place])
            text = f"{{0}} == {{0}} && ({{1}} {better} {{0}} || {{1}} != {{1}}) ? {{1}} : {{0}}"
            best = self.elementwise(place.shape, x.dtype, text, [best, row])
        return place.seen(lambda d: d.reshape(out.shape))

    def _dot_general(self, e: Any, args: list[_Value]) -> list[_Value]:
        out, (left, right) = e.outvars[0].aval, args
        (lc, rc), (lb, rb) = e.params["dimension_numbers"]
        lf = [d for d in range(len(left.shape)) if d not in (*lc, *lb)]
        rf = [d for d in range(len(right.shape)) if d not in (*rc, *rb)]

        def size(x: _Value, axes: Sequence[int]) -> int:
            return math.prod(x.shape[d] for d in axes)

        batch, m, k, n = size(left, lb), size(left, lf), size(left, lc), size(right, rf)
        left = left.seen(lambda d: d.transpose([*lb, *lf, *lc]).reshape(batch, m, k))
        right = right.seen(lambda d: d.transpose([*rb, *rc, *rf]).reshape(batch, k, n))
        if not k or not out.size:
            return [_known(np.zeros(out.shape, out.dtype))]
        dtype = out.dtype.name
        if batch == 1 and right.array is None:
            found = self.matrix(left.seen(lambda d: d[0]), right.data[0], dtype)
        elif batch == 1 and left.array is None:
            found = self.matrix(right.seen(lambda d: d[0].T), left.data[0].T, dtype).seen(
                np.transpose
            )
        else:
            found = self.fresh((batch, m, n), dtype)
            kind, by = TYPES[dtype], ["p", "i", "j"]
            product = f"{self.at(left, ['p', 'i', 'k'])} * {self.at(right, ['p', 'k', 'j'])}"
            lane, width = ("[b]", f"[{self.lanes}]") if self.lanes > 1 else ("", "")
            start = "= {0}" if self.lanes > 1 else "= 0"
            to = self.lane(self.place(found.data, by))
            body = (
                f"{{ {kind} sum{width} {start}; for (int k = 0; k < {k}; k++) "
                f"{self.each([], [], f'sum{lane} += {product};')} "
                f"{self.each([], [], f'{found.array}[{to}] = sum{lane};')} }}"
            )
            loops = "".join(
                f"for (int {v} = 0; {v} < {s}; {v}++) "
                for v, s in zip(by, (batch, m, n), strict=True)
            )
            self.lines.append(loops + body)
        return [found.seen(lambda d: d.reshape(out.shape))]

    def matrix(self, x: _Value, w: np.ndarray, dtype: str) -> _Value:
        """x [M, K] times a known matrix [K, N], many columns, or rows of cells, at once."""
        (m, k), n = x.shape, w.shape[1]
        full = -(-n // _WIDE) * _WIDE
        table = self.constants.table(np.pad(w.astype(dtype), ((0, 0), (0, full - n))))
        stride = full if self.lanes == 1 else -(-n // 4) * 4
        out = self.fresh((m, stride), dtype)
        kind = {"float32": "floats", "float64": "doubles"}.get(dtype)
        if kind is None or x.dtype != dtype:
            raise NotWrittenError("dot_general", f"a product of {x.dtype} and {dtype}")
        if self.lanes > 1:
            tile, source = 4, f"{x.array} + ({self.place(x.data, ['i', 'k'])}) * {self.lanes}"
            given = f"{kind} x = *(const {kind} *)({source});"
            term = [f"s{q} += {table}[{full} * k + j + {q}] * x;" for q in range(4)]
            put = [
                f"*({kind} *)({out.array} + ({stride} * i + j + {q}) * {self.lanes}) = s{q};"
                for q in range(4)
            ]
        else:
            sums = min(4, stride // _WIDE)
            while stride // _WIDE % sums:
                sums -= 1
            tile, given = sums * _WIDE, f"{TYPES[dtype]} x = {self.at(x, ['i', 'k'])};"
            term = [
                f"s{q} += *(const {kind} *)({table} + {full} * k + j + {_WIDE * q}) * x;"
                for q in range(sums)
            ]
            put = [
                f"*({kind} *)({out.array} + {stride} * i + j + {_WIDE * q}) = s{q};"
                for q in range(sums)
            ]
        names = ", ".join(f"s{q} = {{0}}" for q in range(len(put)))
        self.lines.append(
            f"for (int i = 0; i < {m}; i++) for (int j = 0; j < {stride}; j += {tile}) {{ "
            f"{kind} {names}; for (int k = 0; k < {k}; k++) {{ {given} {' '.join(term)} }} "
            f"{' '.join(put)} }}"
        )
        return out.seen(lambda d: d[:, :n])


_BYTES = {"float": 4, "double": 8, "int32_t": 4, "int64_t": 8, "uint8_t": 1, "uint32_t": 4}


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[d + 1 :]) for d in range(len(shape))]


def _along(size: int, axis: int, axes: int) -> np.ndarray:
    return np.arange(size).reshape([-1 if d == axis else 1 for d in range(axes)])


def _straight(data: np.ndarray) -> bool:
    """Whether positions are evenly spaced."""
    steps = np.diff(data)
    return not len(steps) or bool((steps == steps[0]).all())
