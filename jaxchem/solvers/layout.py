"""A network as the compiled kernel reads it: places of its unknowns, sums, and its elimination.

Everything here is worked out once from the structure. Unknowns (states, then pools) stand in the
order of elimination; L + U are kept in blocks of a few rows of a column, as the build that reads
the tables wants them (kernel/element.h).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from ..network import Structure
from ..sums import Sparse
from .elimination import order_of_elimination

__all__ = ["Layout", "layout"]

_TOGETHER = 8
"""Rows of a sum that stand together; kernel/sums.h knows it."""

_LONGEST = 32
"""Terms after which a row of a sum is cut."""


class Layout(NamedTuple):
    """The tables of a network for the kernel, and what else must know where things stand.

    Attributes:
        integers: in the order in which kernel/tables.h reads them.
        numbers: likewise.
        place: [n] place of each unknown in the kernel's vectors.
        reaction: [R] the reaction at each of the kernel's positions.
        position: where entries of the matrix stand, of their rows and columns; -1 where one is
            zero throughout.
    """

    integers: Int[np.ndarray, " I"]
    numbers: Float[np.ndarray, " N"]
    place: Int[np.ndarray, " n"]
    reaction: Int[np.ndarray, " R"]
    position: Callable[[Int[np.ndarray, " m"], Int[np.ndarray, " m"]], Int[np.ndarray, " m"]]


class _Terms(NamedTuple):
    """The mass-action part of J as sums over rate coefficients and partial derivatives."""

    rows: np.ndarray
    columns: np.ndarray
    which: np.ndarray  # position in [k, partials]
    factors: np.ndarray
    partial_reaction: np.ndarray
    others: list[tuple[int, ...]]


@functools.lru_cache(maxsize=64)
def layout(
    structure: Structure,
    rows: int,
    further: int = 0,
    entries: tuple[tuple[int, int], ...] = (),
) -> Layout:
    """The tables of a network.

    Args:
        structure: who reacts.
        rows: of a block of L + U.
        further: states that follow the species.
        entries: (row, column) of entries of the Jacobian that mass action does not make.
    """
    species, count = structure.stoichiometry.shape
    states, pools = species + further, len(structure.pools)
    size = states + pools
    factors = [
        [i for i in row if i < species] + ([states + p] if p < pools else [])
        for row, p in zip(structure.reactants.tolist(), structure.pool_of.tolist(), strict=True)
    ]
    number = np.array([max(len(f), 1) for f in factors])
    reaction = np.argsort(number, kind="stable")
    position = np.argsort(reaction)
    orders = int(number.max())
    terms = _jacobian_terms(structure, factors, position)
    pooled: Sparse = sp.csr_array(structure.pools)
    pool, member = pooled.nonzero()
    further_entries = np.array(entries, dtype=np.int64).reshape(-1, 2)
    order, row, column = order_of_elimination(
        np.concatenate([terms.rows, states + pool, further_entries[:, 0]]),
        np.concatenate([terms.columns, member, further_entries[:, 1]]),
        size,
    )
    blanks = -size % rows
    place = np.empty(size, dtype=np.int64)
    place[order] = blanks + np.arange(size)
    blocks = (size + blanks) // rows
    width = -(-(size + blanks + 2) // 8) * 8
    spare, one = width - 2, width - 1
    matrix = _Matrix(row, column, size, rows, blanks)

    def where(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return matrix.position(place[row] - blanks, place[column] - blanks)

    change = _sums(_rows_of(structure.stoichiometry, place, position), pad=count, spare=spare)
    pull = _sums(
        _rows_of(structure.stoichiometry.T.tocsr()[reaction], np.arange(count), place),
        pad=spare,
        spare=count,
    )
    total = count + len(terms.others)  # of the coefficients, the last of which is zero
    starts = np.flatnonzero(np.diff(terms.rows * size + terms.columns, prepend=-1))
    targets = where(terms.rows[starts], terms.columns[starts])
    made = _Rows(targets, np.append(starts, len(terms.rows)), terms.which, -terms.factors)
    nobody = matrix.fill * rows
    pieces = made.cut()
    first = np.diff(pieces.targets, prepend=-1) != 0
    entry = _sums(pieces.only(first), total, nobody)
    more = _sums(pieces.only(~first), total, nobody)

    constant = np.where(matrix.real, 0.0, np.nan)
    constant[targets] = np.nan
    constant[where(states + pool, member)] = -pooled.data
    diagonal = np.arange(size)
    constant[where(diagonal[states:], diagonal[states:])] = 1.0
    constant_at = np.flatnonzero(~np.isnan(constant))

    place_of = np.append(place, one)
    stacked = [place_of[f or [size]] for f in (factors[j] for j in reaction)]
    others = [place_of[list(o)] for o in terms.others]
    header = [
        *(states, pools, width, blocks, blanks, one, count, orders),
        *(sum(map(len, stacked)), sum(map(len, others)), len(others)),
        *(matrix.fill, len(constant_at), len(matrix.upper_from)),
        *(len(matrix.lower_from), len(matrix.upper_at), len(matrix.target)),
        *(len(matrix.lower.pivot), len(matrix.upper.pivot)),
    ]
    integers = [
        header,
        place[:states],
        place[states:],
        pooled.indptr,
        place[member],
        np.searchsorted(number[reaction], np.arange(1, orders + 2)),
        *stacked,
        reaction,
        np.searchsorted([len(o) for o in others], np.arange(1, orders + 1)),
        terms.partial_reaction,
        *others,
        *(part for each in (change, pull, entry, more) for part in each[:-1]),
        constant_at,
        where(diagonal[:states], diagonal[:states]),
        *matrix.elimination,
        matrix.lower.pairs,
        matrix.lower.pivot,
        matrix.upper.pairs,
        matrix.upper.pivot,
    ]
    sums = (change, pull, entry, more)
    numbers = [pooled.data, *(part[-1] for part in sums), constant[constant_at]]
    return Layout(
        np.concatenate([np.ravel(part) for part in integers]).astype(np.int32),
        np.concatenate(numbers),
        place,
        reaction,
        where,
    )


class _Rows(NamedTuple):
    """Rows of a sparse matrix, each with a target: where its sum goes."""

    targets: np.ndarray
    starts: np.ndarray  # of each row, and the end of the last
    index: np.ndarray
    values: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def only(self, chosen: np.ndarray) -> "_Rows":
        """Some of the rows, by a mask or in another order."""
        lengths, targets = self.lengths[chosen], self.targets[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        at = np.repeat(self.starts[:-1][chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        return _Rows(targets, starts, self.index[at], self.values[at])

    def cut(self) -> "_Rows":
        """In even pieces of at most `_LONGEST` terms; rows without terms are left out."""
        lengths = self.lengths
        many = -(-lengths // _LONGEST)
        row = np.repeat(np.arange(len(many)), many)
        piece = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
        even, longer = np.divmod(lengths[row], many[row])
        starts = self.starts[row] + piece * even + np.minimum(piece, longer)
        return self._replace(targets=self.targets[row], starts=np.append(starts, self.starts[-1]))


def _rows_of(matrix: Sparse, targets: np.ndarray, place: np.ndarray) -> _Rows:
    """The rows of a matrix, for their targets, and the columns by their place."""
    return _Rows(targets[: matrix.shape[0]], matrix.indptr, place[matrix.indices], matrix.data)


def _jacobian_terms(
    structure: Structure, factors: Sequence[Sequence[int]], position: Int[np.ndarray, " R"]
) -> _Terms:
    """Terms sorted by row, column and what they multiply.

    The derivative of a flux by one of its factors is k times the others: k itself where there are
    none, and else one partial derivative, shared by factors that are alike.
    """
    derivatives = []  # (reaction, column, others, multiplicity)
    for j, of in enumerate(factors):
        for column in sorted(set(of)):
            others = list(of)
            others.remove(column)
            derivatives.append((j, column, tuple(others), of.count(column)))
    at = position.tolist()
    partials = sorted((len(o), at[j], o) for j, _, o, _ in derivatives if o)
    count = len(factors)
    number = {(j, o): count + q for q, (_, j, o) in enumerate(partials)}
    table = np.array(
        [(j, c, number[at[j], o] if o else at[j], many) for j, c, o, many in derivatives],
        dtype=np.int64,
    ).reshape(-1, 4)
    changes = structure.stoichiometry.T.tocsr()[table[:, 0]]
    derivative = np.repeat(np.arange(len(table)), np.diff(changes.indptr))
    rows, (_, columns, which, many) = changes.indices, table[derivative].T
    order = np.lexsort((which, columns, rows))
    found = (rows.astype(np.int64), columns, which, many * changes.data)
    rows, columns, which, values = (part[order] for part in found)
    reactions = np.array([j for _, j, _ in partials], dtype=np.int64)
    return _Terms(rows, columns, which, values, reactions, [o for _, _, o in partials])


def _sums(
    rows: _Rows, pad: int, spare: int
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of a sparse matrix as kernel/sums.h reads them.

    Args:
        rows: may be empty, or longer than a piece.
        pad: index of a number that is zero, for what fills a group up.
        spare: target of rows that fill a group up.

    Returns:
        Sizes, first group of each run, lengths, targets, indices, and coefficients.
    """
    pieces = rows.cut()
    pieces = pieces.only(np.argsort(-pieces.lengths, kind="stable"))
    groups = -(-len(pieces.targets) // _TOGETHER)
    targets = np.full(groups * _TOGETHER, spare)
    targets[: len(pieces.targets)] = pieces.targets
    lengths = pieces.lengths[::_TOGETHER]
    starts = np.concatenate([[0], np.cumsum(lengths * _TOGETHER)])
    piece = np.repeat(np.arange(len(pieces.targets)), pieces.lengths)
    term = np.arange(len(piece)) - pieces.starts[piece]
    group, row = np.divmod(piece, _TOGETHER)
    at = starts[group] + term * _TOGETHER + row
    index, values = np.full(starts[-1], pad), np.zeros(starts[-1])
    index[at], values[at] = pieces.index, pieces.values
    runs = np.flatnonzero(np.diff(lengths, prepend=-1))
    sizes = [len(runs), groups, len(index)]
    return sizes, np.append(runs, groups), lengths[runs], targets, index, values


class _Triangle(NamedTuple):
    """A substitution by blocks of rows: pairs of earlier unknowns that each one gathers from."""

    pairs: np.ndarray
    pivot: np.ndarray
    to: np.ndarray  # block of each (pivot, block of rows) in the order of the elimination


class _Matrix:
    """L + U in blocks of rows of a column, its elimination and its substitutions.

    Args:
        i: rows of the entries of L + U in the order of elimination, sorted.
        j: their columns.
        size: n.
        rows: of a block.
        blanks: places before the first unknown.
    """

    def __init__(self, i: np.ndarray, j: np.ndarray, size: int, rows: int, blanks: int):
        self._rows, self._blanks = rows, blanks
        self._size, self._blocks = size, (size + blanks) // rows
        block = (blanks + np.arange(size)) // rows  # of each unknown
        row = (blanks + np.arange(size)) % rows
        below, above = i > j, i < j
        columns = self._blocks * j + block[i]  # a block of a column is one number
        self._present = np.unique(columns)
        self.fill = len(self._present)
        self._entries = size * i + j
        self._position = self._number(columns) * rows + row[i]
        self.real = np.zeros(self.fill * rows, dtype=bool)
        self.real[self._position] = True

        lower, upper = np.unique(columns[below]), np.unique(columns[above])
        lower_pivot, lower_block = np.divmod(lower, self._blocks)  # by pivots, upwards
        upper_pivot, upper_block = np.divmod(upper, self._blocks)
        downwards = np.lexsort((upper_block, -upper_pivot))
        upper_pivot, upper_block = upper_pivot[downwards], upper_block[downwards]
        own = self._blocks * np.arange(size) + block
        uppers, lowers = (np.bincount(p, minlength=size) for p in (i[above], lower_pivot))
        # all blocks of the pivot's column of L, for each entry of its row of U
        each = lowers[i[above]]
        turn = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        first = (np.cumsum(lowers) - lowers)[i[above]]
        block_below = lower_block[np.repeat(first, each) + turn]
        self.target = self._number(self._blocks * np.repeat(j[above], each) + block_below)
        self.upper_at = self._position[above]
        self.lower_from = self._number(lower)
        self.upper_from = self._number(self._blocks * upper_pivot + upper_block)
        self.lower = self._triangle(lower_pivot, lower_block, block, 1)
        self.upper = self._triangle(upper_pivot, upper_block, block, -1)
        self.elimination = [
            self.position(np.arange(size), np.arange(size)),
            lowers,
            uppers,
            np.isin(own, lower),
            np.isin(own, upper),
            self.upper_at,
            self.lower_from,
            self.lower.to,
            self.target,
            self.upper_from,
            self.upper.to,
            upper_block,
        ]

    def _number(self, columns: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._present, columns)

    def position(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Where entries stand, -1 for those that are none."""
        wanted = self._size * row + column
        at = np.minimum(np.searchsorted(self._entries, wanted), len(self._entries) - 1)
        return np.where(self._entries[at] == wanted, self._position[at], -1)

    def _triangle(
        self, pivots: np.ndarray, blocks: np.ndarray, block: np.ndarray, direction: int
    ) -> _Triangle:
        rows = self._rows
        turn = np.arange(self._blocks)[::direction]  # of each block
        outside = block[pivots] != blocks
        mine = np.flatnonzero(outside)[np.argsort(turn[blocks[outside]], kind="stable")]
        many = np.bincount(turn[blocks[mine]], minlength=self._blocks)
        filled_up = many + many % 2
        starts = np.cumsum(filled_up) - filled_up
        gathered = np.repeat(turn * rows, filled_up)  # the block's own, where one is left over
        to = np.full(len(pivots), -1)
        to[mine] = np.arange(len(mine)) + np.repeat(starts - np.cumsum(many) + many, many)
        gathered[to[mine]] = pivots[mine] + self._blanks
        inside = ~outside
        row = (pivots + self._blanks) % rows
        to[inside] = filled_up.sum() + turn[blocks[inside]] * rows + row[inside]
        return _Triangle(filled_up // 2, gathered, to)
