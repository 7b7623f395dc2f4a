"""Trivial emulators, from inputs to fields of log10 abundances.

A learned emulator is worth its training only where it beats these. Each takes the inputs
[N, D] and fields [N, ...] of the training trajectories and the inputs [M, D] of others, and gives
their fields [M, ...]. The inputs are standardised over the training set; those that do not vary,
and those that are linear combinations of earlier ones, are left out.

The fields of the training trajectories are an array, or anything that has the shape of one and
gives the arrays of some trajectories, by slices and by numbers: all at once may fill the memory.
"""

from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement
from math import comb
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float

__all__ = [
    "BASELINES",
    "chebyshev",
    "gaussian_process",
    "linear",
    "nearest_neighbour",
    "train_mean",
]

Array = np.ndarray

# training trajectories of a Gaussian process: the kernel is N x N, its factor takes N^3 / 3
_MOST = 5000
# least singular value of the terms of a polynomial, over the largest: single precision
_DEPENDENT = 1e-6
# in standard deviations of the inputs: from a tenth of the box to nearly linear
_LENGTHS = np.geomspace(1 / 8, 16, 15)
# trajectories that are worked on at once
_BLOCK = 512


def train_mean(
    inputs_train: Float[Array, "N D"],
    fields_train: Float[Any, "N *F"],
    inputs_test: Float[Array, "M D"],
) -> Float[Array, "M *F"]:
    """The mean of the training fields, whatever the input."""
    total = sum(part.sum(axis=0) for _, part in _parts(fields_train))
    mean = np.reshape(total / len(inputs_train), (1, *fields_train.shape[1:]))
    return np.repeat(mean, len(inputs_test), axis=0)


def nearest_neighbour(
    inputs_train: Float[Array, "N D"],
    fields_train: Float[Any, "N *F"],
    inputs_test: Float[Array, "M D"],
) -> Float[Array, "M *F"]:
    """The field of the training trajectory whose standardised inputs are closest.

    Raises:
        ValueError: no input varies, or one is not finite.
    """
    train, test = _standardised(inputs_train, inputs_test)
    if not (np.all(np.isfinite(train)) and np.all(np.isfinite(test))):
        raise ValueError("inputs that are not finite have no nearest neighbour.")
    # all distances, by products: of a hundred inputs a tree takes far longer
    rows = np.column_stack([train, -0.5 * np.sum(train**2, axis=1)]).T
    test, block = np.column_stack([test, np.ones(len(test))]), max(1, 10_000_000 // len(train))
    nearest = np.empty(len(test), int)
    for n in range(0, len(test), block):
        nearest[n : n + block] = np.argmax(test[n : n + block] @ rows, axis=1)
    return np.asarray(fields_train[nearest], float)


def linear(
    inputs_train: Float[Array, "N D"],
    fields_train: Float[Any, "N *F"],
    inputs_test: Float[Array, "M D"],
) -> Float[Array, "M *F"]:
    """Least squares in the inputs and a constant.

    Raises:
        ValueError: no input varies.
    """
    train, test = _standardised(inputs_train, inputs_test)
    inverse, mean, slopes = scipy.linalg.pinv(train), np.zeros(1), np.zeros((1, 1))
    for block, part in _parts(fields_train):
        slopes = slopes + inverse[:, block] @ part
        mean = mean + part.sum(axis=0) / len(train)
    # the columns have no mean, so that the constant is that of the fields
    found = test @ slopes
    found += mean
    return found.reshape(-1, *fields_train.shape[1:])


def chebyshev(
    inputs_train: Float[Array, "N D"],
    fields_train: Float[Any, "N *F"],
    inputs_test: Float[Array, "M D"],
    *,
    degree: int | None = None,
) -> Float[Array, "M *F"]:
    """Least squares in Chebyshev polynomials of the inputs, up to a total degree.

    The training range of each input becomes [-1, 1]; outside it a polynomial extrapolates badly.

    Args:
        inputs_train: inputs of the training trajectories.
        fields_train: their fields.
        inputs_test: inputs of the fields wanted.
        degree: total degree. `None` takes the one with the smallest leave-one-out error in the
            training set, of those with at least two trajectories a term.

    Raises:
        ValueError: no input varies, or there are fewer trajectories than terms.
    """
    train, test = _standardised(inputs_train, inputs_test)
    low, high = train.min(axis=0), train.max(axis=0)
    train, test = (2 * (x - low) / (high - low) - 1 for x in (train, test))
    count, width = train.shape
    fields = np.asarray(fields_train[:], float).reshape(count, -1)

    if degree is None:
        degrees = [0]
        while 2 * comb(width + degrees[-1] + 1, width) <= count:
            degrees.append(degrees[-1] + 1)
    elif count < comb(width + degree, width):
        raise ValueError(
            f"A polynomial of degree {degree} in {width} inputs has "
            f"{comb(width + degree, width)} terms, but there are only {count} trajectories."
        )
    else:
        degrees = [degree]

    least, best = np.inf, (0, np.empty(0))
    for d in degrees:
        left, sizes, right = scipy.linalg.svd(_polynomials(train, d), full_matrices=False)
        # inputs on a curved surface, such as the oxygen of a fixed ratio to all carbon, make terms
        # nearly dependent; keeping such directions would amplify the error of the fields
        rank = np.sum(sizes > _DEPENDENT * sizes[0])
        left, sizes, right = left[:, :rank], sizes[:rank], right[:rank]
        parts = left.T @ fields
        # the error at a trajectory that the fit has not seen follows from its leverage
        free = np.maximum(1 - np.sum(left**2, axis=1), np.finfo(float).eps)
        rest = left @ parts
        rest -= fields
        rest /= free[:, None]
        error = np.mean(np.square(rest, out=rest))
        if error < least:
            least, best = error, (d, right.T @ (parts / sizes[:, None]))
    degree, coefficients = best
    found = np.empty((len(test), fields.shape[1]))
    for block in _blocks(len(test)):
        np.matmul(_polynomials(test[block], degree), coefficients, out=found[block])
    return found.reshape(-1, *fields_train.shape[1:])


def gaussian_process(
    inputs_train: Float[Array, "N D"],
    fields_train: Float[Any, "N *F"],
    inputs_test: Float[Array, "M D"],
    *,
    length: float | None = None,
    nugget: float = 1e-8,
) -> Float[Array, "M *F"]:
    """Mean of a Gaussian process with the kernel exp(-r^2 / (2 length^2)), about the mean field.

    All values of a field share the kernel and its amplitude (Rasmussen and Williams, Gaussian
    Processes for Machine Learning, 2006, sections 2.2 and 5.4.1).

    Args:
        inputs_train: inputs of the training trajectories.
        fields_train: their fields.
        inputs_test: inputs of the fields wanted.
        length: in standard deviations of the inputs. `None` takes the one with the largest
            marginal likelihood of a geometric series.
        nugget: variance of the noise over that of the process. It keeps the kernel, nearly
            singular for a long length, positive definite.

    Raises:
        ValueError: no input varies, the kernel is not positive definite, or there are too many
            trajectories for an exact solution.
    """
    train, test = _standardised(inputs_train, inputs_test)
    count = len(train)
    if count > _MOST:
        raise ValueError(
            f"{count} trajectories are too many for an exact Gaussian process (at most {_MOST}): "
            "its kernel has as many rows and columns, and factoring it takes their cube. Give a "
            "part of the training set."
        )
    fields = np.asarray(fields_train[:], float).reshape(count, -1)
    mean = fields.mean(axis=0)
    fields = fields - mean
    # of many values, as many as there are trajectories have the same sums of squares
    rotated = fields
    if fields.shape[1] > 2 * count:
        rotated = np.transpose(np.linalg.qr(fields.T, mode="r"))
    distances = scipy.spatial.distance.cdist(train, train, "sqeuclidean")

    def kernel(distances: Array, length: float) -> Array:
        return np.exp(-distances / (2 * length**2))

    def factor(length: float) -> Array:
        noisy = kernel(distances, length) + nugget * np.eye(count)
        return scipy.linalg.cholesky(noisy, lower=True)

    def cost(length: float) -> float:
        """-log of the marginal likelihood at the best amplitude, over half the values."""
        root = factor(length)
        white = scipy.linalg.solve_triangular(root, rotated, lower=True)
        amplitude = np.sum(np.square(white, out=white)) / fields.size + np.finfo(float).tiny
        return float(np.log(amplitude) + 2 * np.mean(np.log(np.diag(root))))

    if length is None:
        length = float(min(_LENGTHS, key=cost))
    weights = scipy.linalg.cho_solve((factor(length), True), fields)
    found = np.empty((len(test), fields.shape[1]))
    for block in _blocks(len(test)):
        near = scipy.spatial.distance.cdist(test[block], train, "sqeuclidean")
        np.matmul(kernel(near, length), weights, out=found[block])
    found += mean
    return found.reshape(-1, *fields_train.shape[1:])


BASELINES: dict[str, Callable[[Array, Any, Array], Array]] = {
    "train_mean": train_mean,
    "nearest_neighbour": nearest_neighbour,
    "linear": linear,
    "chebyshev": chebyshev,
    "gaussian_process": gaussian_process,
}


def _blocks(count: int) -> Iterator[slice]:
    """So many trajectories, some at a time."""
    for n in range(0, count, _BLOCK):
        yield slice(n, n + _BLOCK)


def _parts(fields: Float[Any, "N *F"]) -> Iterator[tuple[slice, Float[Array, "n F"]]]:
    """Flat fields of some trajectories after the other, in double precision."""
    for block in _blocks(fields.shape[0]):
        part = np.asarray(fields[block], float)
        yield block, part.reshape(len(part), -1)


def _standardised(
    train: Float[Array, "N D"], test: Float[Array, "M D"]
) -> tuple[Float[Array, "N d"], Float[Array, "M d"]]:
    """Both by the mean and deviation of `train`, without columns that carry nothing new."""
    train, test = np.asarray(train, float), np.asarray(test, float)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # a constant has a deviation of round-off; what is divided by infinity is dropped below
    varies = deviation > 1e-9 * np.abs(train).max(axis=0)
    deviation = np.where(varies, deviation, np.inf)
    train, test = (train - mean) / deviation, (test - mean) / deviation
    kept: list[int] = []
    basis = np.empty(train.T.shape)
    for column, values in enumerate(train.T):
        # Gram-Schmidt in the given order, so that an input added at the end changes nothing
        before = basis[: len(kept)]
        new = values - (before @ values) @ before
        norm = np.linalg.norm(new)
        # single precision leaves 1e-7 of an exact combination
        if norm > 1e-5 * np.sqrt(len(train)):
            basis[len(kept)] = new / norm
            kept.append(column)
    if not kept:
        raise ValueError(f"None of the {train.shape[1]} inputs varies over the training set.")
    return train[:, kept], test[:, kept]


def _polynomials(inputs: Float[Array, "N D"], degree: int) -> Float[Array, "N P"]:
    """Products of Chebyshev polynomials of the inputs, of total degree up to `degree`."""
    width = inputs.shape[1]
    # a term is a choice of `degree` factors among the inputs and 1
    choices = combinations_with_replacement(range(width + 1), degree)
    powers = np.array([[choice.count(d) for d in range(width)] for choice in choices])
    values = np.polynomial.chebyshev.chebvander(inputs, degree)
    terms = np.ones((len(inputs), len(powers)))
    for d in range(width):
        terms *= values[:, d, powers[:, d]]
    return terms
