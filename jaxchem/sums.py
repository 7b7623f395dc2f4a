"""A constant sparse matrix times a vector, in JAX."""

from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["SMALL", "Sparse", "times"]

Sparse: TypeAlias = Any
"""A `scipy.sparse.csr_array` in canonical form (SciPy does not tell checkers its types)."""

SMALL = 2**14
"""Numbers of a matrix up to which it is multiplied whole: as fast then, and its slope faster."""

_TOGETHER = 8
"""Terms that are added at once."""


def times(matrix: Sparse, x: Float[Array, " m"]) -> Float[Array, " n"]:
    """The product of a constant sparse matrix [n, m] with a vector.

    Rows are added in pieces of a few terms, and the pieces likewise, so it is all gathers and
    short sums: no scatter, whose order of additions is not fixed on a GPU, and which a CPU does
    one by one.
    """
    rows, columns = matrix.shape
    if rows * columns <= SMALL:
        return jnp.matmul(jnp.asarray(matrix.toarray(), x.dtype), x, precision="highest")
    index, start = matrix.indices, matrix.indptr
    x = jnp.asarray(matrix.data, x.dtype) * x[index]
    while True:
        pieces = np.maximum(-(-np.diff(start) // _TOGETHER), 1)
        row = np.repeat(np.arange(rows), pieces)
        next_start = np.concatenate([[0], np.cumsum(pieces)])
        first = start[row] + _TOGETHER * (np.arange(len(row)) - next_start[row])
        at = first[:, None] + np.arange(_TOGETHER)
        at = np.where(at < start[row + 1][:, None], at, x.shape[0])
        padded = jnp.concatenate([x, jnp.zeros(1, x.dtype)])
        x = jnp.sum(padded[at], axis=1)
        start = next_start
        if len(row) == rows:
            return x
