"""The order of a sparse Gaussian elimination, and its fill."""

import heapq

import numpy as np
from jaxtyping import Int

__all__ = ["order_of_elimination"]


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
