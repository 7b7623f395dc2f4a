"""Sparse Gaussian elimination worked out once from a pattern: order, fill, and what to subtract."""

import heapq
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

__all__ = ["Elimination", "eliminate", "order_of_elimination"]


class Elimination(NamedTuple):
    """The static part of a factorisation P A P^T = L U without pivoting (unit lower L).

    Entries of L + U are numbered in the order in which they can be computed: for each pivot its
    row of U and then its column of L. Ragged lists are kept as `start` and concatenated members.

    Attributes:
        order: [S] row of A that is eliminated n-th.
        slot: [S, S] number of each entry of L + U in the rows and columns of A, -1 where it is
            zero.
        pivot: [F] for an entry of L the pivot that divides it, -1 for an entry of U.
        updates: start [F + 1], and the entries of L and of U whose products are subtracted.
        lower: start [S + 1], slots and columns of the rows of L, by pivots.
        upper: start [S + 1], slots and columns of the rows of U beyond the diagonal, by pivots.
    """

    order: Int[np.ndarray, " S"]
    slot: Int[np.ndarray, "S S"]
    pivot: Int[np.ndarray, " F"]
    updates: tuple[np.ndarray, np.ndarray, np.ndarray]
    lower: tuple[np.ndarray, np.ndarray, np.ndarray]
    upper: tuple[np.ndarray, np.ndarray, np.ndarray]


def order_of_elimination(
    rows: Int[np.ndarray, " m"], columns: Int[np.ndarray, " m"], size: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " F"], Int[np.ndarray, " F"]]:
    """Chooses an order of little fill (Markowitz 1957, Manage. Sci. 3, 255).

    No pivoting for size: 1/(h gamma) - J of chemical kinetics is close to diagonally dominant in
    its columns (KPP does the same, Sandu et al. 1996, Comput. Math. Appl. 32, 91).

    Args:
        rows: of the entries of a matrix [n, n] that can differ from zero; the diagonal is added.
        columns: of these entries, some of which may stand twice.
        size: n.

    Returns:
        The row that is eliminated n-th, and the rows and columns of the entries of L + U in that
        order, sorted.
    """
    below: list[set[int]] = [set() for _ in range(size)]  # rows that wait, of each column
    beside: list[set[int]] = [set() for _ in range(size)]  # columns that wait, of each row
    for i, j in zip(np.asarray(rows).tolist(), np.asarray(columns).tolist(), strict=True):
        if i != j:
            below[j].add(i)
            beside[i].add(j)
    # what has changed stands there anew: an old cost is passed over when its turn comes
    waiting = [(len(below[n]) * len(beside[n]), n) for n in range(size)]
    heapq.heapify(waiting)
    left, order = set(range(size)), []
    while left:
        cost, pivot = heapq.heappop(waiting)
        if pivot not in left or cost != len(below[pivot]) * len(beside[pivot]):
            continue
        if cost == (len(left) - 1) ** 2:  # nothing but a full matrix is left
            full = sorted(left)
            for n, one in enumerate(full):
                below[one] = beside[one] = set(full[n + 1 :])
            order += full
            break
        order.append(pivot)
        left.remove(pivot)
        under, along = below[pivot], beside[pivot]
        for i in under:
            beside[i] |= along
            beside[i] -= {pivot, i}
        for j in along:
            below[j] |= under
            below[j] -= {pivot, j}
        for n in under | along:
            heapq.heappush(waiting, (len(below[n]) * len(beside[n]), n))
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    lower = [(place[i], place[p]) for p in order for i in below[p]]
    upper = [(place[p], place[j]) for p in order for j in beside[p]]
    entries = np.array([*lower, *upper, *((n, n) for n in range(size))]).reshape(-1, 2)
    entries = entries[np.lexsort((entries[:, 1], entries[:, 0]))]
    return np.array(order, dtype=np.int32), entries[:, 0], entries[:, 1]


def eliminate(pattern: Bool[np.ndarray, "S S"]) -> Elimination:
    """Lists the work of an elimination in an order of little fill.

    Args:
        pattern: which entries of the Jacobian can differ from zero; the diagonal is added.
    """
    size = len(pattern)
    rows, columns = np.nonzero(pattern)
    order, rows, columns = order_of_elimination(rows, columns, size)
    sorted_fill = np.zeros((size, size), dtype=bool)
    sorted_fill[rows, columns] = True
    number = np.full((size, size), -1, dtype=np.int32)
    count = 0
    for n in range(size):
        row = n + np.flatnonzero(sorted_fill[n, n:])
        number[n, row] = count + np.arange(len(row))
        count += len(row)
        column = n + 1 + np.flatnonzero(sorted_fill[n + 1 :, n])
        number[column, n] = count + np.arange(len(column))
        count += len(column)
    at_row, at_column = np.nonzero(number >= 0)
    sequence = np.argsort(number[at_row, at_column])
    at_row, at_column = at_row[sequence], at_column[sequence]
    lowers, uppers = [], []
    for i, j in zip(at_row, at_column, strict=True):
        m = min(i, j)
        both = np.flatnonzero(sorted_fill[i, :m] & sorted_fill[:m, j])
        lowers.append(number[i, both])
        uppers.append(number[both, j])
    start, lower = _ragged(lowers)
    _, upper = _ragged(uppers)
    place = np.argsort(order)
    return Elimination(
        order=order,
        slot=number[np.ix_(place, place)],
        pivot=np.where(at_row > at_column, at_column, -1).astype(np.int32),
        updates=(start, lower, upper),
        lower=_rows(number, [np.flatnonzero(sorted_fill[n, :n]) for n in range(size)]),
        upper=_rows(number, [n + 1 + np.flatnonzero(sorted_fill[n, n + 1 :]) for n in range(size)]),
    )


def _ragged(lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    start = np.concatenate([[0], np.cumsum([len(members) for members in lists])])
    members = np.concatenate([np.zeros(0, dtype=np.int32), *lists])
    return start.astype(np.int32), members.astype(np.int32)


def _rows(
    number: np.ndarray, columns: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, members = _ragged(columns)
    _, slots = _ragged([number[n, row] for n, row in enumerate(columns)])
    return start, slots, members
