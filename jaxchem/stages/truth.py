"""What predictions are measured against.

There may be so many trajectories that a copy of them all costs, so that some are worked on at a
time and no more is kept of all than their errors.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ..dataset import Observations
from ..metrics import conservation_drift, error_scores, largest_scaled, linear_rmse
from ..scale import span

__all__ = ["BLOCK", "LEAST", "SCORES", "Guess", "Truth", "blocks", "finite"]

LEAST = 1e-99
"""Smallest concentration that is told from zero."""

BLOCK = 256
"""Trajectories that are worked on at once."""

SCORES = ("rmse", "rmse_linear", "mean_dex", "median_dex", "p99_dex", "max_dex")
"""Of every row of a report."""

Guess = Callable[[slice], Float[Any, "n T S"]]
"""Gives predictions of some of the cases that are asked for."""


class Truth:
    """True trajectories, and how far predictions are off them.

    Attributes:
        test: the trajectories.
        states: [case, T, S] their states.
        counts: which of them count; `None` where all do.
    """

    def __init__(self, test: Observations, seen: Observations, *, floor: float, counted: float):
        """Of the first; the range of the second is the scale. `floor` and `counted` are those of
        `evaluate`."""
        self.test, self.floor = test, floor
        self.states, self._y0 = np.asarray(test.states), np.asarray(test.y0)
        self._logs = self.logs(self.states, self._y0)
        least = self.floored(seen.y0)[:, 0, 0]
        ends = [
            np.log10(f(np.maximum(f(np.asarray(seen.states), axis=(1, 2)), least)))
            for f in (np.min, np.max)
        ]
        low, high = map(float, ends)
        low = max(low, float(np.log10(counted))) if counted else low
        self.counts = self.states >= counted if counted else None
        self._width, self._largest = high - low, largest_scaled(self._logs, low, high)
        self._ranges = np.asarray(span(seen.states)[1])

    def floored(self, y0: Float[Any, "n S"]) -> Float[np.ndarray, "n 1 1"]:
        """What concentrations are compared from, of trajectories that start so."""
        return np.maximum(self.floor * np.sum(np.asarray(y0), axis=1), LEAST)[:, None, None]

    def logs(self, values: Float[Any, "n T S"], y0: Float[Any, "n S"]) -> Float[Any, "n T S"]:
        """log10 of what is compared."""
        found = np.maximum(values, self.floored(y0))
        return np.log10(found, out=found)

    def errors(
        self, guess: Guess, cases: Int[np.ndarray, " n"] | None = None
    ) -> tuple[Float[np.ndarray, "n T S"], float]:
        """In dex, and `linear_rmse`; of all cases or of those with these numbers."""
        cases = np.arange(len(self.states)) if cases is None else cases
        off, squares = np.empty((len(cases), *self.states.shape[1:])), 0.0
        for block in blocks(len(cases)):
            here, found = cases[block], np.asarray(guess(block))
            np.abs(self.logs(found, self._y0[here]) - self._logs[here], out=off[block])
            squares += len(here) * linear_rmse(found, self.states[here], self._ranges) ** 2
        return off, float(np.sqrt(squares / len(cases)))

    def scores(self, guess: Guess, cases: Int[np.ndarray, " n"] | None = None) -> dict[str, float]:
        """`SCORES`, and others of `emulation_scores`."""
        off, linear = self.errors(guess, cases)
        counts, largest = self.counts, self._largest
        if cases is not None:
            counts, largest = None if counts is None else counts[cases], largest[cases]
        return error_scores(off, largest, self._width, counts) | {"rmse_linear": linear}

    def of_finite(
        self, prediction: Float[np.ndarray, "n T S"], cases: Int[np.ndarray, " n"] | None = None
    ) -> dict[str, float]:
        """The same of the predictions that are finite, and `drift`."""
        good, cases = self._finite(prediction, cases)
        if not len(good):
            return dict.fromkeys(SCORES, np.nan)
        scores = self.scores(lambda block: prediction[good[block]], cases)
        if self.test.network.balanced:
            weights, largest = jnp.asarray(self.test.network.conserved), []
            for block in blocks(len(good)):
                ys, y0 = map(jnp.asarray, (prediction[good[block]], self._y0[cases[block]]))
                largest.append(float(jnp.max(jnp.abs(conservation_drift(weights, ys, y0)))))
            scores["drift"] = max(largest)
        return scores

    def mean_dex(
        self, prediction: Float[np.ndarray, "n T S"], cases: Int[np.ndarray, " n"]
    ) -> float:
        """The one score of these cases alone."""
        good, cases = self._finite(prediction, cases)
        if not len(good):
            return np.nan
        off, _ = self.errors(lambda block: prediction[good[block]], cases)
        some = off if self.counts is None else off[self.counts[cases]]
        return float(some.mean()) if some.size else np.nan

    def _finite(self, prediction: Any, cases: Any) -> tuple[np.ndarray, np.ndarray]:
        """Which of the predictions are, and the cases that they are of."""
        good = np.flatnonzero(finite(prediction))
        return good, good if cases is None else cases[good]


def finite(prediction: Float[np.ndarray, "n T S"]) -> Bool[np.ndarray, " n"]:
    """Which trajectories are, all along."""
    return np.all(np.isfinite(prediction), axis=(1, 2))


def blocks(count: int) -> Iterator[slice]:
    """So many cases, some at a time."""
    for at in range(0, count, BLOCK):
        yield slice(at, at + BLOCK)
