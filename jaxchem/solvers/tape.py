"""Tapes: straight-line scalar instructions that one compiled interpreter runs.

A right-hand side or a set of rate coefficients that a user wrote in JAX is taken apart once, by
`lowering.py`, into operations on single numbers. A tape is nothing but NumPy arrays, so the same
interpreter (`kernel/tape.h`) runs whatever it was, without compiling again. [`run`][] is that
interpreter in NumPy, and says what each instruction means.

A tape works on *slots*, one scalar each: constants first, then inputs, then one slot for each
instruction's result. A [`Graph`][] collects instructions: constants are folded, and an expression
that occurs twice is computed once; [`assemble`][] puts them in order. This is tape-based evaluation
as in automatic differentiation (Griewank and Walther 2008, Evaluating Derivatives, ch. 2 and 6),
with value numbering (Cocke 1970, doi:10.1145/390013.808480) for common subexpressions.
"""

import enum
import math
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["CELL", "STEP", "Graph", "Op", "Tape", "assemble", "dependence", "reads", "run", "zeros"]

CONSTANT, CELL, STEP = 0, 1, 2
"""Levels: known here and now, the same throughout a cell, and free to change at every step."""

Op = enum.IntEnum(
    "Op",
    "ADD SUB MUL DIV NEG FMA MAX MIN ABS FLOOR SQRT EXP LOG POW SIN COS TANH LT LE GT GE EQ NE "
    "AND OR XOR NOT SELECT TAKE REM ROUND TAN SINH COSH ASIN ACOS ATAN ATAN2 ASINH ACOSH ATANH "
    "EXPM1 LOG1P CBRT ERF ERFC",
    start=0,
)
"""What an instruction does with slots a, b and c; numbered as in `kernel/tape.h`.

Truths are masks: all bits of the float64 set, or none. FMA is a b + c; SELECT is c where a holds
and b elsewhere; TAKE is table[c + a] with a kept between 0 and b - 1, and its b and c are numbers,
not slots. REM is C's fmod, ROUND goes to the nearest integer and halves to an even one.
"""


class Tape(NamedTuple):
    """A lowered function.

    Instructions are int32, in runs of one opcode: `op, n`, then n times `a, b, c, out`. Slots that
    an opcode does not read repeat a.

    Attributes:
        slots: how many scalars the tape works on.
        constants: values of slots 0 to K - 1; a truth is all bits set or none.
        inputs: first slot of each input; its elements follow in C order.
        cell: instructions to run once a cell: all that depends on inputs of level `CELL` alone.
        groups: instructions of each group of outputs, to run in order after `cell`; a group leaves
            out what `cell` and the groups before it have computed.
        outputs: of each group and output, the slots of its elements. They may be constants and
            inputs, and several elements may share one.
        levels: [slots] 0 (constant), `CELL` or `STEP`.
        table: numbers that TAKE looks up.
    """

    slots: int
    constants: Float[np.ndarray, " K"]
    inputs: tuple[int, ...]
    cell: Int[np.ndarray, " n"]
    groups: tuple[Int[np.ndarray, " n"], ...]
    outputs: tuple[tuple[Int[np.ndarray, "..."], ...], ...]
    levels: Int[np.ndarray, " slots"]
    table: Float[np.ndarray, " m"]


# ---- what the instructions mean

_TRUE = np.int64(-1).view(np.float64)


def _masks(truth: np.ndarray) -> np.ndarray:
    return np.where(truth, _TRUE, 0.0)


def _bits(x: Any) -> np.ndarray:
    return np.asarray(x, np.float64).view(np.int64)


_erf, _erfc = (np.vectorize(f, otypes=[np.float64]) for f in (math.erf, math.erfc))

_COMPUTE: dict[Op, Callable[..., Any]] = {
    Op.ADD: np.add,
    Op.SUB: np.subtract,
    Op.MUL: np.multiply,
    Op.DIV: np.divide,
    Op.NEG: np.negative,
    Op.FMA: lambda a, b, c: a * b + c,
    Op.MAX: np.maximum,
    Op.MIN: np.minimum,
    Op.ABS: np.abs,
    Op.FLOOR: np.floor,
    Op.SQRT: np.sqrt,
    Op.EXP: np.exp,
    Op.LOG: np.log,
    Op.POW: np.power,
    Op.SIN: np.sin,
    Op.COS: np.cos,
    Op.TANH: np.tanh,
    Op.LT: lambda a, b: _masks(a < b),
    Op.LE: lambda a, b: _masks(a <= b),
    Op.GT: lambda a, b: _masks(a > b),
    Op.GE: lambda a, b: _masks(a >= b),
    Op.EQ: lambda a, b: _masks(a == b),
    Op.NE: lambda a, b: _masks(a != b),
    Op.AND: lambda a, b: (_bits(a) & _bits(b)).view(np.float64),
    Op.OR: lambda a, b: (_bits(a) | _bits(b)).view(np.float64),
    Op.XOR: lambda a, b: (_bits(a) ^ _bits(b)).view(np.float64),
    Op.NOT: lambda a: (~_bits(a)).view(np.float64),
    Op.SELECT: lambda a, b, c: np.where(_bits(a) != 0, c, b),
    Op.REM: np.fmod,
    Op.ROUND: np.rint,
    Op.TAN: np.tan,
    Op.SINH: np.sinh,
    Op.COSH: np.cosh,
    Op.ASIN: np.arcsin,
    Op.ACOS: np.arccos,
    Op.ATAN: np.arctan,
    Op.ATAN2: np.arctan2,
    Op.ASINH: np.arcsinh,
    Op.ACOSH: np.arccosh,
    Op.ATANH: np.arctanh,
    Op.EXPM1: np.expm1,
    Op.LOG1P: np.log1p,
    Op.CBRT: np.cbrt,
    Op.ERF: _erf,
    Op.ERFC: _erfc,
}

_THREE = {Op.FMA, Op.SELECT}
_TWO = {
    *(Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MAX, Op.MIN, Op.POW, Op.LT, Op.LE, Op.GT, Op.GE, Op.EQ),
    *(Op.NE, Op.AND, Op.OR, Op.XOR, Op.REM, Op.ATAN2),
}
_ARITY = np.array([3 if op in _THREE else 2 if op in _TWO else 1 for op in Op])
"""Slots that each opcode reads."""

_SYMMETRIC = {Op.ADD, Op.MUL, Op.MAX, Op.MIN, Op.EQ, Op.NE, Op.AND, Op.OR, Op.XOR}


def _runs(code: Int[np.ndarray, " n"]) -> Iterator[tuple[Op, Int[np.ndarray, "n 4"]]]:
    """The runs of one opcode that instructions are made of."""
    at = 0
    while at < len(code):
        stop = at + 2 + 4 * int(code[at + 1])
        yield Op(int(code[at])), code[at + 2 : stop].reshape(-1, 4)
        at = stop


def run(
    tape: Tape, inputs: Sequence[Any], batched: bool = False
) -> tuple[tuple[Float[np.ndarray, "..."], ...], ...]:
    """What a tape's outputs are, worked out by NumPy.

    Args:
        tape: from `lower`.
        inputs: arrays in the shapes that the tape was lowered for.
        batched: every input has one more axis, the last, of cells; so has every output then.

    Returns:
        Of each group, its outputs. A truth comes as a mask (NaN for true, by its bits).
    """
    arrays = [np.asarray(x, np.float64) for x in inputs]
    batch = arrays[0].shape[-1:] if batched else ()
    slots = np.zeros((tape.slots, *batch))
    slots[: len(tape.constants)] = tape.constants.reshape(-1, *(1 for _ in batch))
    for first, x in zip(tape.inputs, arrays, strict=True):
        flat = x.reshape(-1, *batch)
        slots[first : first + len(flat)] = flat
    with np.errstate(all="ignore"):
        for code in (tape.cell, *tape.groups):
            for op, block in _runs(code):
                for a, b, c, out in block.tolist():
                    if op == Op.TAKE:
                        index = np.clip(np.nan_to_num(slots[a]), 0, b - 1).astype(int)
                        slots[out] = tape.table[c + index]
                    else:
                        operands = (slots[a], slots[b], slots[c])[: _ARITY[op]]
                        slots[out] = _COMPUTE[op](*operands)
    return tuple(tuple(slots[output] for output in group) for group in tape.outputs)


def _reach(tape: Tape) -> tuple[list[int], int]:
    """What each slot can depend on, as the bits of an integer, and how many bits there are."""
    known = len(tape.constants)
    stop = min(
        (int(block[0, 3]) for code in (tape.cell, *tape.groups) for _, block in _runs(code)),
        default=tape.slots,
    )
    free = [s for s in range(known, stop) if tape.levels[s] == STEP]
    reach = [0] * tape.slots
    for bit, slot in enumerate(free):
        reach[slot] = 1 << bit
    for code in tape.groups:
        for op, block in _runs(code):
            arity = _ARITY[op]
            for a, b, c, out in block.tolist():
                bits = reach[a]
                if arity > 1:
                    bits |= reach[b]
                if arity > 2:
                    bits |= reach[c]
                reach[out] = bits
    return reach, len(free)


def _unpack(sets: Sequence[int], count: int) -> Bool[np.ndarray, "m N"]:
    width = (count + 7) // 8
    packed = b"".join(bits.to_bytes(width, "little") for bits in sets)
    rows = np.frombuffer(packed, np.uint8).reshape(len(sets), width)
    return np.unpackbits(rows, axis=1, count=count, bitorder="little").view(bool)


def dependence(tape: Tape) -> tuple[tuple[Bool[np.ndarray, "..."], ...], ...]:
    """Which inputs each output can depend on, by the instructions and whatever the values.

    Args:
        tape: from `lower`.

    Returns:
        Of each group and output, [*shape of the output, N]: the last axis runs over the elements of
        all inputs of level `STEP`, in order.
    """
    reach, count = _reach(tape)

    def unpack(output: np.ndarray) -> np.ndarray:
        slots, which = np.unique(output, return_inverse=True)
        found = _unpack([reach[s] for s in slots.tolist()], count)
        return found[which.reshape(-1)].reshape(*output.shape, count)

    return tuple(tuple(unpack(output) for output in group) for group in tape.outputs)


def reads(tape: Tape) -> Bool[np.ndarray, "G N"]:
    """Which inputs any output of each group can depend on (see `dependence`)."""
    reach, count = _reach(tape)
    sets = []
    for group in tape.outputs:
        bits = 0
        for output in group:
            for slot in np.unique(output).tolist():
                bits |= reach[slot]
        sets.append(bits)
    return _unpack(sets, count)


def zeros(tape: Tape) -> tuple[tuple[Bool[np.ndarray, "..."], ...], ...]:
    """Which elements of each output are 0 whatever the inputs (outside a Jacobian's pattern)."""
    nothing = np.zeros(tape.slots, bool)
    nothing[: len(tape.constants)] = tape.constants == 0
    return tuple(tuple(nothing[output] for output in group) for group in tape.outputs)


# ---- the graph that instructions are collected in

ZERO, ONE, YES, MINUS_ONE = 0, -1, -2, -3
"""Nodes of 0 (also of false), 1, true and -1 in every graph."""

_LEAF = -1
"""Opcode of inputs."""


class Graph:
    """Scalars: constants, inputs and operations on earlier ones; none occurs twice.

    A *node* is the number of one: 0 and below for constants, above for inputs and operations. A
    call adds one operation for each element of its operands (arrays of nodes, or numbers) and
    returns the nodes of the results, simplified where that is exact but for the sign of a zero.
    0 times anything is 0, and so is 0 over anything: the zero is structural, as in a product with a
    tangent that is not there.
    """

    def __init__(self):
        self.numbers = array("d")  # of node 0, -1, -2, ...
        self.op = [_LEAF]  # of node 1, 2, ...; nothing stands at 0
        self.operands = [(ZERO, ZERO, ZERO)]
        self.level = [CONSTANT]
        self.tables: list[np.ndarray] = []
        self._constants: dict[int, int] = {}
        self._offsets: dict[bytes, int] = {}
        self._memo: dict[int, dict[tuple[int, ...], int]] = defaultdict(dict)
        self.constants([0.0, 1.0, _TRUE, -1.0])

    def constants(self, values: Any) -> Int[np.ndarray, "..."]:
        """Nodes of numbers and truths."""
        values = np.asarray(values)
        numbers = _masks(values) if values.dtype == bool else values.astype(np.float64)
        numbers = np.where(numbers == 0, 0.0, numbers)  # -0 is as good as none, too
        bits, found = numbers.reshape(-1).view(np.int64), np.zeros(numbers.size, np.int32)
        places = bits.nonzero()[0] if self.numbers else np.arange(bits.size)
        known = self._constants
        for place, pattern in zip(places.tolist(), bits[places].tolist(), strict=True):
            node = known.get(pattern)
            if node is None:
                node = known[pattern] = -len(self.numbers)
                self.numbers.frombytes(bits[place].tobytes())
            found[place] = node
        return found.reshape(values.shape)

    def known(self, nodes: Int[np.ndarray, "..."]) -> bool:
        """Whether all nodes are constants."""
        return not (nodes > 0).any()

    def value(self, nodes: Any) -> Float[np.ndarray, "..."]:
        """Numbers of constants."""
        return np.frombuffer(self.numbers)[-np.asarray(nodes)]

    def inputs(self, shape: tuple[int, ...], level: int) -> Int[np.ndarray, "..."]:
        """Nodes of an input."""
        first, size = len(self.op), math.prod(shape)
        self.op += [_LEAF] * size
        self.operands += [(ZERO, ZERO, ZERO)] * size
        self.level += [level] * size
        return np.arange(first, first + size, dtype=np.int32).reshape(shape)

    def take(
        self, table: Float[np.ndarray, " m"], index: Any, length: int, offset: Any
    ) -> Int[np.ndarray, "..."]:
        """table[offset + index], the index (nodes) kept between 0 and length - 1."""
        key = table.tobytes()
        if key not in self._offsets:
            self._offsets[key] = sum(map(len, self.tables))
            self.tables.append(table)
        index, offset = np.broadcast_arrays(index, offset + self._offsets[key])
        pairs = zip(index.ravel().tolist(), offset.ravel().tolist(), strict=True)
        nodes = [self._node(Op.TAKE, a, length, c) for a, c in pairs]
        return np.array(nodes, np.int32).reshape(index.shape)

    def __call__(self, op: Op, *operands: Any) -> Int[np.ndarray, "..."]:
        """Nodes of an operation's results."""
        arrays = [self.constants(x) if isinstance(x, (int, float)) else x for x in operands]
        arrays = np.broadcast_arrays(*arrays)
        flat = [x.reshape(-1) for x in arrays]
        out, places = self._zeros(op, *flat)
        if places.size < out.size:
            flat = [x[places] for x in flat]
        fixed = np.logical_and.reduce([x <= 0 for x in flat])
        if fixed.any():
            with np.errstate(all="ignore"):
                numbers = _COMPUTE[op](*(self.value(x[fixed]) for x in flat))
            out[places[fixed]] = self.constants(numbers)
            flat, places = [x[~fixed] for x in flat], places[~fixed]
        if op in _SYMMETRIC:
            flat = [np.minimum(*flat), np.maximum(*flat)]
        memo, found = self._memo[op], []
        for key in zip(*(x.tolist() for x in flat), strict=True):
            node = memo.get(key)
            if node is None:
                node = memo[key] = self._new(op, *key)
            found.append(node)
        out[places] = found
        return out.reshape(arrays[0].shape)

    def _zeros(self, op: Op, a: Any, b: Any = None, c: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Results that a zero or a constant condition decides, and the places of the others.

        By far the most elements of a Jacobian are gone after this.
        """
        out = np.zeros(a.size, np.int32)
        if op in (Op.MUL, Op.AND):
            live = (a != ZERO) & (b != ZERO)
        elif op in (Op.DIV, Op.NEG):
            live = a != ZERO
        elif op in (Op.ADD, Op.OR):
            live = (a != ZERO) & (b != ZERO)
            out = np.where(a == ZERO, b, a)
        elif op == Op.SUB:
            live, out = b != ZERO, a.copy()
        elif op == Op.SELECT:
            live, out = (a > 0) & (b != c), np.where(a == ZERO, b, c)
        else:
            return out, np.arange(a.size)
        return out, live.nonzero()[0]

    def _node(self, op: Op, *operands: int) -> int:
        key = tuple(sorted(operands)) if op in _SYMMETRIC else operands
        node = self._memo[op].get(key)
        if node is None:
            node = self._memo[op][key] = self._new(op, *key)
        return node

    def _of(self, op: Op, node: int) -> tuple[int, ...] | None:
        """Operands of that operation, if a node is one."""
        return self.operands[node] if node > 0 and self.op[node] == op else None

    def _new(self, op: Op, *operands: int) -> int:
        """An operation that is not there yet, or what it comes down to.

        Of two operands that may be exchanged, a constant is the first.
        """
        a, b, c = (*operands, operands[0], operands[0])[:3]
        match op:
            case Op.MUL if a == ONE:
                return b
            case Op.MUL if a == MINUS_ONE:
                return self._node(Op.NEG, b)
            case Op.DIV if b == ONE:
                return a
            case Op.DIV if b <= 0:
                mantissa, exponent = math.frexp(self.numbers[-b])
                if mantissa == 0.5 and abs(exponent) < 1000:  # whose inverse is exact
                    inverse = int(self.constants(1.0 / self.numbers[-b]))
                    return self._node(Op.MUL, a, inverse)
            case Op.ADD:
                for x, y in ((a, b), (b, a)):
                    if negated := self._of(Op.NEG, y):
                        return self._node(Op.SUB, x, negated[0])
            case Op.SUB if a == ZERO:
                return self._node(Op.NEG, b)
            case Op.SUB:
                if negated := self._of(Op.NEG, b):
                    return self._node(Op.ADD, a, negated[0])
            case Op.NEG | Op.NOT:
                if twice := self._of(op, a):
                    return twice[0]
            case Op.AND if a == YES:
                return b
            case Op.OR if a == YES:
                return a
            case Op.NE if a == ZERO:
                # a truth that was made a number, and is one again
                chosen = self._of(Op.SELECT, b)
                if chosen and chosen[1:] == (ZERO, ONE):
                    return chosen[0]
            case Op.SELECT if c <= 0 and c != YES and math.isnan(self.numbers[-c]):
                # NaN put where a NaN is anyway (jnp.searchsorted does)
                if self._of(Op.NE, a) == (b, b, b):
                    return b
        self.op.append(op)
        self.operands.append((a, b, c))
        read = operands[: _ARITY[op]]
        self.level.append(max(self.level[x] if x > 0 else CONSTANT for x in read))
        return len(self.op) - 1

    def combine(
        self, op: Op, nodes: Int[np.ndarray, " n"], places: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Joins all nodes that go to one place, in pairs and pairs of pairs; and those places."""
        order = np.argsort(places, kind="stable")
        nodes, places = nodes[order], places[order]
        while (places[1:] == places[:-1]).any():
            first = np.flatnonzero(np.diff(places, prepend=-1))
            lengths = np.diff(first, append=places.size)
            odd = (np.arange(places.size) - np.repeat(first, lengths)) % 2 == 1
            second = np.flatnonzero(odd)
            nodes[second - 1] = self(op, nodes[second - 1], nodes[second])
            nodes, places = nodes[~odd], places[~odd]
        return nodes, places


# ---- from the graph to a tape


def _stages(
    graph: Graph, groups: Sequence[np.ndarray]
) -> tuple[list[int], list[Op | int], list[tuple[int, ...]], list[int]]:
    """What each group has to compute.

    Args:
        graph: all operations.
        groups: nodes that each wants.

    Returns:
        The first group that needs each node (a number beyond the last where none does); opcodes and
        operands, a product that only one sum uses being part of that (if of the same level); and
        the constants that are needed.
    """
    op: list[Op | int] = list(graph.op)
    operands, level = list(graph.operands), graph.level
    stage, uses, constants = [len(groups)] * len(op), [0] * len(op), set()

    def use(node: int, n: int) -> None:
        if node > 0:
            stage[node] = min(stage[node], n)
            uses[node] += 1
        else:
            constants.add(node)

    for n, wanted in enumerate(groups):
        for node in np.unique(wanted).tolist():
            use(node, n)
    for node in reversed(range(1, len(op))):
        if op[node] != _LEAF and stage[node] < len(groups):
            for x in operands[node][: _ARITY[op[node]]]:
                use(x, stage[node])
    for node in range(1, len(op)):
        if op[node] == Op.ADD and stage[node] < len(groups):
            a, b, _ = operands[node]
            for product, other in ((a, b), (b, a)):
                single = product > 0 and op[product] == Op.MUL and uses[product] == 1
                if single and level[product] == level[node]:
                    op[node], operands[node] = Op.FMA, (*operands[product][:2], other)
                    stage[product] = len(groups)
                    break
    return stage, op, operands, sorted(constants, reverse=True)


def _schedule(
    nodes: list[int], op: list[Op | int], operands: list[tuple[int, ...]]
) -> list[tuple[int, list[int]]]:
    """Runs of one opcode: always that of which most are ready, for as long as there are."""
    inside, waits, users = set(nodes), {}, defaultdict(list)
    ready: dict[int, deque[int]] = defaultdict(deque)
    for node in nodes:
        below = [x for x in operands[node][: _ARITY[op[node]]] if x in inside]
        waits[node] = len(below)
        for x in below:
            users[x].append(node)
        if not below:
            ready[op[node]].append(node)
    runs = []
    while ready:
        kind = max(ready, key=lambda k: len(ready[k]))
        waiting, members = ready[kind], []
        while waiting:
            members.append(waiting.popleft())
            for user in users[members[-1]]:
                waits[user] -= 1
                if not waits[user]:
                    ready[op[user]].append(user)
        del ready[kind]
        runs.append((kind, members))
    return runs


def assemble(
    graph: Graph, inputs: Sequence[np.ndarray], groups: Sequence[Sequence[np.ndarray]]
) -> Tape:
    """Puts in order the instructions that compute those nodes.

    Args:
        graph: what all nodes are.
        inputs: the nodes of each input.
        groups: of each group, the nodes of its outputs.

    Returns:
        The tape.
    """
    nothing = np.empty(0, np.int32)
    flat = [np.concatenate([nothing, *(x.ravel() for x in group)]) for group in groups]
    stage, op, operands, constants = _stages(graph, flat)
    sections: list[list[int]] = [[] for _ in range(len(groups) + 1)]
    for node in range(1, len(op)):
        if op[node] != _LEAF and stage[node] < len(groups):
            sections[0 if graph.level[node] == CELL else 1 + stage[node]].append(node)
    schedules = [_schedule(nodes, op, operands) for nodes in sections]
    order = [*constants, *(n for x in inputs for n in x.ravel().tolist())]
    order += [n for runs in schedules for _, members in runs for n in members]
    # of constants, whose nodes are negative, at the end
    slot = np.full(len(op) + len(graph.numbers), -1, np.int32)
    slot[order] = np.arange(len(order))

    def encode(runs: list[tuple[int, list[int]]]) -> np.ndarray:
        parts = [nothing]
        for kind, members in runs:
            read = np.array([operands[n] for n in members], np.int32)
            block = slot[
                np.column_stack([read if kind != Op.TAKE else read[:, [0, 0, 0]], members])
            ]
            if kind == Op.TAKE:
                block[:, 1:3] = read[:, 1:]
            parts += [np.array([kind, len(members)], np.int32), block.reshape(-1)]
        return np.concatenate(parts)

    cell, *rest = map(encode, schedules)
    starts = len(constants) + np.cumsum([0, *(x.size for x in inputs)])
    return Tape(
        slots=len(order),
        constants=graph.value(np.array(constants, int)),
        inputs=tuple(starts[:-1].tolist()),
        cell=cell,
        groups=tuple(rest),
        outputs=tuple(tuple(np.asarray(slot[x]) for x in group) for group in groups),
        levels=np.array([graph.level[n] if n > 0 else CONSTANT for n in order], np.int8),
        table=np.concatenate([np.empty(0), *graph.tables]),
    )
