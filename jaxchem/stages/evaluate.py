"""How good a model is: one report for every family, wrapper and the solver itself."""

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..baselines import BASELINES
from ..dataset import Observations, observe
from ..kinetics import tendency
from ..metrics import scaled_mse, uncertainty_scores
from ..models import (
    About,
    AbstractEmulator,
    AbstractIntegrated,
    AbstractWrapper,
    Function,
    along,
    rollout,
)
from ..network import Network
from ..parse import load, shipped
from ..scale import span
from ..solvers import Integrator, solve
from .base import rate_metrics, true_rates
from .truth import BLOCK, LEAST, SCORES, Guess, Truth, blocks, finite

__all__ = ["Report", "evaluate", "gradient_scores", "report"]

log = logging.getLogger("jaxchem")

MOST_FITTED = 2000
"""Trajectories that the polynomial and the Gaussian process see: their cost grows fast."""

SEGMENTS = 10
"""Pieces that a predicted trajectory is chained from."""

SOLVED = 64
"""Trajectories that the solver is measured on."""

DAY = 86400.0
"""s"""

RUNGS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""Relative tolerances that the solver is asked for, until it is as good as the model."""


class Report(NamedTuple):
    """How good a model is. Prints as a table.

    Attributes:
        metrics: flat name -> number, as of `evaluate`.
        prediction: [case, T, S] what the model gives.
        latents: [case, T, L] what it goes through, of a model with a latent space.
    """

    metrics: dict[str, float]
    prediction: Float[np.ndarray, "case T S"]
    latents: Float[np.ndarray, "case T L"] | None

    def __str__(self) -> str:
        return report(self.metrics)

    def _repr_markdown_(self) -> str:
        return str(self)


def evaluate(
    model: AbstractEmulator,
    data: Any,
    *,
    network: Network | None = None,
    train: Observations | None = None,
    integrator: Integrator | None = None,
    floor: float = 0.0,
    counted: float = 0.0,
    gradients: int = 8,
    brief: bool = False,
) -> Report:
    """Measures a model on trajectories, beside trivial ones and beside the solver.

    Scores are of the trajectories that come out finite; `failed` are the others. One that can
    start anywhere is also chained, each piece from the state that it has predicted itself: through
    the segments of a course, each under its own conditions, or else over `SEGMENTS` pieces of as
    many output times each (the same stretch of log time, where they are evenly spaced in it).

    Args:
        model: any emulator; states and conditions are met by name.
        data: the trajectories that it is measured on: a dataset, or `Observations` of every
            species.
        network: of a dataset; `None` is the shipped one that the dataset names.
        train: what it was trained on, for the scale of `rmse` and for the baselines, which are
            left out where this is not given.
        integrator: of the solver; `None` is `Integrator()`.
        floor: concentrations are compared from this part of the initial state's total up.
        counted: a concentration below this, in the network's unit, counts in no logarithm, and
            the scale of `rmse` begins here.
        gradients: cases whose derivatives are compared with the solver's; 0 compares none.
        brief: the scores of the model alone, nothing beside it.

    Returns:
        `metrics.emulation_scores` of the model, `rmse_linear` (`metrics.linear_rmse` over the range
        of each species in training), `drift` (the largest relative change of what the
        network conserves), `failed` and `smallest_y`; `err_y`, the scaled mean square error of
        the last trajectory (SPIN-ODE, arXiv:2505.05625).

        Where there is such: `err_dy` likewise of tendencies, and `base.rate_metrics`;
        of a model that is corrected, as to conserve, the scores without that as `free/...`; of a
        chain, `rollout/...` with `rollout/growth`, its mean error in dex over that of the model
        from the initial states, `rollout/failed`, and `rollout/mean_dex_N` of the N-th segments of
        courses, which end a day; of courses of more than a day, `yesterday/...`, the state a day
        before; of a spread, `metrics.uncertainty_scores`; of cases that leave the training range,
        `outside/cases`, `outside/mean_dex` and `inside/mean_dex`; of each baseline `NAME/...`, and
        of what stays as it was `persistence/...`; of the solver at the loosest of `RUNGS` at which
        mean and largest error are no larger than the model's, `solver/...` with `solver/rtol`;
        `gradient_scores`; and `time/model` and `time/solver`, seconds a trajectory, in batches.

    Raises:
        ValueError: no model, or no dataset; other states, conditions or units than the model's, a
            part of the species, or a dataset of a network that does not ship.
    """
    if not isinstance(model, AbstractEmulator):
        raise ValueError(f"evaluate measures an AbstractEmulator, not a {type(model).__name__}.")
    test = _observed(data, network).in_order(model.about.conditions)
    _compare(model.about, test)
    network, y0, conditions = test.network, test.y0, test.conditions
    times = test.ts - test.t0
    integrator = Integrator() if integrator is None else integrator
    whole, model = model, model.in_order(network.species, test.names)
    model.check_range(y0, conditions)
    seen = test if train is None else train.in_order(test.names)

    truth = Truth(test, seen, floor=floor, counted=counted)
    predict = functools.partial(_predicted, y0=y0, conditions=conditions, times=times)
    prediction, taken = predict(model)
    scores = truth.of_finite(prediction)
    scores |= {
        "err_y": float(
            scaled_mse(jnp.asarray(prediction[-1:]), test.states[-1:], span(test.states)[1])
        ),
        "failed": float(np.sum(~finite(prediction))),
        "smallest_y": float(np.min(prediction, initial=np.inf, where=np.isfinite(prediction))),
        "time/model": taken,
        **rate_metrics(test, whole),
    }
    if isinstance(whole, AbstractIntegrated):
        scores |= _tendency_errors(whole, test)
    if brief:
        return Report(scores, prediction, None)
    if isinstance(whole, AbstractWrapper) and whole.corrects:  # what the wrap costs or gains
        inner = whole.inner.in_order(network.species, test.names)
        scores |= _under("free", truth.of_finite(predict(inner)[0]))
    if model.restarts:
        scores |= _chain_scores(model, truth, times, scores["mean_dex"])
    if jax.eval_shape(model.spread, y0[0], conditions[0], times) is not None:
        off, spread = truth.errors(prediction.__getitem__)[0], predict(model.spread)[0]
        if truth.counts is not None:
            off, spread = (np.where(truth.counts, part, 0.0) for part in (off, spread))
        scores |= uncertainty_scores(off, spread)
    latents = None
    if jax.eval_shape(model.latents, y0[0], conditions[0], times) is not None:
        latents = predict(model.latents)[0]
    out = np.any(model.beyond(np.asarray(y0), np.asarray(conditions)) > 0, axis=1)
    if out.any():
        scores["outside/cases"] = float(out.sum())
        for name, cases in (("outside", np.flatnonzero(out)), ("inside", np.flatnonzero(~out))):
            if len(cases):
                scores[f"{name}/mean_dex"] = truth.mean_dex(prediction[cases], cases)
    stays = np.broadcast_to(np.asarray(y0)[:, None], prediction.shape)
    scores |= _under("persistence", truth.scores(stays.__getitem__))
    if train is not None:
        for name, guess in _baselines(model, test, seen, truth.floored(seen.y0)):
            scores |= _under(name, truth.scores(guess))
    try:
        test.rates(conditions[0])
    except ValueError as error:
        log.info("no solver beside it: %s", error)
        return Report(scores, prediction, latents)
    few = test.chosen(slice(SOLVED))
    beside = truth.of_finite(prediction[:SOLVED])
    for rtol, ys, taken in _solved(few, integrator):
        found = truth.of_finite(ys)
        scores |= _under("solver", {**found, "rtol": rtol}) | {"time/solver": taken}
        if all(found[name] <= beside[name] for name in ("mean_dex", "max_dex")):
            break
    if gradients and len(y0) > 1:
        few = test.chosen(slice(gradients + 1))
        scores |= gradient_scores(model, few, integrator, floor=floor, counted=counted)
    return Report(scores, prediction, latents)


def _chained(
    model: AbstractEmulator, test: Observations, times: Any
) -> Float[np.ndarray, "case T S"]:
    """Trajectories from states that the model has predicted itself."""
    if test.segments == 1:
        call = functools.partial(rollout, model, segments=min(SEGMENTS, len(times)))
        return _predicted(call, test.y0, test.conditions, times)[0]
    chain = _predicted(functools.partial(along, model), *test.courses, times)[0]
    return chain.reshape(len(test.y0), len(times), -1)


def _chain_scores(
    model: AbstractEmulator, truth: Truth, times: Any, mean_dex: float
) -> dict[str, float]:
    """Those of `rollout` and of `yesterday`; `mean_dex` is that of the model in one step."""
    test, chain = truth.test, _chained(model, truth.test, times)
    scores = truth.of_finite(chain)
    scores["growth"] = scores["mean_dex"] / mean_dex
    scores["failed"] = float(np.sum(~finite(chain)))
    day, before = round(DAY / float(times[-1])), {}
    if test.segments > 1 and abs(day * float(times[-1]) / DAY - 1) < 1e-6:
        for number in range(day, test.segments + 1, day):
            ends = np.arange(number - 1, len(chain), test.segments)
            scores[f"mean_dex_{number}"] = truth.mean_dex(chain[ends], ends)
        later = np.flatnonzero(np.arange(len(chain)) % test.segments >= day)
        if len(later):
            before = truth.scores(lambda block: truth.states[later[block] - day], later)
    return _under("yesterday", before) | _under("rollout", scores)


def _observed(data: Any, network: Network | None) -> Observations:
    """Trajectories with the network that they are of."""
    if isinstance(data, Observations):
        return data
    if not hasattr(data, "attrs"):
        raise ValueError(
            f"evaluate wants a dataset, as jaxchem.read gives, not a {type(data).__name__}."
        )
    name = data.attrs.get("network")
    if network is None and name not in shipped():
        raise ValueError(f"the data are of network {name!r}, which does not ship: give network.")
    return observe(data, load(name) if network is None else network)


def _compare(about: About, test: Observations) -> None:
    """Refuses other units than the model's, and warns of other conditions than in training."""
    units = test.network.units
    if any(about.units) and about.units != units:
        raise ValueError(
            f"the model is of {about.units.concentration} and {about.units.time}, but network "
            f"{test.network.name!r} counts in {units.concentration} and {units.time}; give data in "
            "the model's units."
        )
    for name, value in about.shared.items():
        other = test.fixed.get(name, value)
        if other != value:
            log.warning("the model is of data at %s %s, but is measured at %s", name, value, other)


def _under(name: str, scores: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}/{key}": value for key, value in scores.items()}


def _predicted(
    call: Callable[..., Any], y0: Any, conditions: Any, times: Any
) -> tuple[np.ndarray, float]:
    """What a model gives for all cases, and seconds a trajectory once it is compiled."""
    run = jax.jit(jax.vmap(call, in_axes=(0, 0, None)))
    first = y0[:BLOCK], conditions[:BLOCK]
    one = jax.eval_shape(run, *first, times)
    found = np.empty((len(y0), *one.shape[1:]), one.dtype)
    for block in blocks(len(y0)):
        found[block] = run(y0[block], conditions[block], times)
    begin = time.perf_counter()
    jax.block_until_ready(run(*first, times))
    return found, (time.perf_counter() - begin) / len(first[0])


def _tendency_errors(model: AbstractIntegrated, test: Observations) -> dict[str, float]:
    """`err_dy` of the last trajectory, where the network's laws give the true tendency."""
    last = test.conditions[-1]
    k = true_rates(test, last)
    if k is None or model.about.states != test.network.species:
        return {}
    exact = jax.jit(jax.vmap(lambda y: tendency(test.network, jnp.asarray(k), y)))(test.states[-1])
    modelled = jax.jit(jax.vmap(lambda y: model.field(0.0, y, last)))(test.states[-1])
    return {"err_dy": float(scaled_mse(modelled, exact, span(exact)[1]))}


def _baselines(
    model: AbstractEmulator, test: Observations, data: Observations, least: Any
) -> Iterator[tuple[str, Guess]]:
    """Trajectories that trivial emulators, learned from the data, give for the test.

    They are asked what the model inside of wrappers is asked, as the gas on the line of `Similar`.
    Between the times of the data, their logarithms are interpolated in the logarithm of time.
    """
    wrappers = []
    while isinstance(model, AbstractWrapper):
        if type(model).within is not AbstractWrapper.within:  # asks for something else
            wrappers.append(model)
        model = model.inner
    times, grid = test.ts - test.t0, np.asarray(data.ts - data.t0)
    asked, seen, states = (test.y0, test.conditions), (data.y0, data.conditions), data.states
    for wrapper in wrappers:  # of the data, which are on the line already, it changes the order
        asked, before = (
            jax.vmap(lambda y0, c, w=wrapper: w.within(y0, c, times)[:2])(*one)
            for one in (asked, seen)
        )
        on_line = jax.vmap(lambda y, c, w=wrapper: w.within(y, c, times)[0], (0, None))
        states, seen = jax.vmap(on_line)(states, seen[1]), before
    inputs = [np.log10(np.maximum(np.concatenate(one, axis=1), LEAST)) for one in (seen, asked)]
    varied = np.ptp(inputs[0], axis=0) > 1e-9
    known = _Logs(np.asarray(states), least)
    few = _Logs(known.states[:MOST_FITTED], least[:MOST_FITTED])
    places = jnp.log(jnp.maximum(grid, np.finfo(float).tiny))

    def whole(field: Any, y0: Any, conditions: Any) -> Any:
        def between(y0: Any, conditions: Any, ts: Any) -> Any:
            at = jnp.log(jnp.maximum(ts, np.finfo(float).tiny))
            return 10.0 ** jax.vmap(lambda f: jnp.interp(at, places, f), 1, 1)(field)

        call: Any = Function(function=between, about=model.about)
        for wrapper in reversed(wrappers):
            call = dataclasses.replace(wrapper, inner=call)
        return call.predict(y0, conditions, times)

    ask = jax.jit(jax.vmap(whole))
    for name, baseline in BASELINES.items():
        some = few if name in ("chebyshev", "gaussian_process") else known
        try:
            fields = baseline(inputs[0][: len(some.least), varied], some, inputs[1][:, varied])
        except ValueError as error:  # too few trajectories, or too many, for this one
            log.info("no %s: %s", name, error)
            continue
        if not wrappers and grid.shape == times.shape and np.allclose(grid, times, rtol=1e-9):
            yield name, lambda b, fields=fields: 10.0 ** fields[b]
        else:
            yield name, lambda b, fields=fields: ask(fields[b], test.y0[b], test.conditions[b])


@dataclasses.dataclass(frozen=True)
class _Logs:
    """log10 of trajectories, made of those that are asked for: all would fill the memory.

    Attributes:
        states: [case, T, S]
        least: [case, 1, 1] what counts as zero.
    """

    states: np.ndarray
    least: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all."""
        return self.states.shape

    def __getitem__(self, cases: Any) -> np.ndarray:
        found = np.maximum(self.states[cases], self.least[cases])
        return np.log10(found, out=found)


def _solved(
    test: Observations, integrator: Integrator
) -> Iterator[tuple[float, Float[np.ndarray, "case T S"], float]]:
    """Relative tolerance, trajectories and seconds a trajectory, from loose to tight."""

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0, 0))
    def run(rtol: Any, y0: Any, conditions: Any) -> Any:
        how = {"t0": test.t0, "integrator": integrator.replace(rtol=rtol), "throw": False}
        return solve(test.network, test.rates(conditions), y0, test.ts, **how).ys

    for rtol in (*(r for r in RUNGS if r > integrator.rtol), float(integrator.rtol)):
        ys = np.asarray(run(rtol, test.y0, test.conditions))
        begin = time.perf_counter()
        jax.block_until_ready(run(rtol, test.y0, test.conditions))
        yield rtol, ys, (time.perf_counter() - begin) / len(ys)


def gradient_scores(
    model: AbstractEmulator,
    test: Observations,
    integrator: Integrator,
    *,
    floor: float = 0.0,
    counted: float = 0.0,
) -> dict[str, float]:
    """Derivatives of an emulator beside those of the solver.

    They are of log10 y, along the line from each case to the one after it, on which elements and
    charge are what the cases have them be; per dex of the input that changes most.

    Args:
        model: any emulator; states and conditions are met by name.
        test: two cases or more.
        integrator: of the solver.
        floor: states below this part of the initial state's total do not count.
        counted: nor do those below this.

    Returns:
        `gradient/mean` and `gradient/median` of |emulator - solver|, and `gradient/size`, the mean
        of |solver|; nothing where no two cases differ.
    """
    model = model.in_order(test.network.species, test.names)
    y0, conditions = test.y0, test.conditions
    lines = [jnp.diff(part, axis=0) for part in (y0, conditions)]
    where = [part[:-1] for part in (y0, conditions)]
    largest = [
        jnp.max(jnp.abs(line) / jnp.where(part > 0, part, jnp.inf), axis=1, initial=0.0)
        for line, part in zip(lines, where, strict=True)
    ]
    per_dex = (np.log(10.0) / jnp.maximum(*largest))[:, None]

    def slopes(call: Callable[..., Any]) -> tuple[Any, Any]:
        def logs(y0: Any, conditions: Any) -> Any:
            return jnp.log10(jnp.maximum(call(y0, conditions), LEAST))

        def exactly(a: Any, b: Any) -> tuple[Any, Any]:
            return jax.jvp(logs, a, b)

        def nearly(a: Any, b: Any) -> tuple[Any, Any]:
            high, low = (logs(*(p + s * q for p, q in zip(a, b, strict=True))) for s in (h, -h))
            return logs(*a), (high - low) / (2 * h)

        h, parts = 0.01, (tuple(where), tuple(line * per_dex for line in lines))
        try:
            return jax.jit(jax.vmap(exactly))(*parts)
        except TypeError:  # what is integrated for reverse mode has no forward mode
            return jax.jit(jax.vmap(nearly))(*parts)

    def solver(y0: Any, conditions: Any) -> Any:
        forward = integrator.replace(adjoint="forward")
        how = {"t0": test.t0, "integrator": forward, "throw": False}
        return solve(test.network, test.rates(conditions), y0, test.ts, **how).ys

    exact, wanted = slopes(solver)
    nearly, found = slopes(lambda y0, conditions: model(y0, conditions, test.ts - test.t0))
    least = np.maximum(floor * jnp.sum(where[0], axis=1), max(counted, LEAST))[:, None, None]
    finite = jnp.isfinite(wanted) & jnp.isfinite(found) & jnp.isfinite(nearly)
    counts = np.asarray((exact > np.log10(least)) & finite)
    if not counts.any():
        return {}
    error, wanted = np.abs(np.asarray(found - wanted))[counts], np.abs(np.asarray(wanted))[counts]
    return {
        "gradient/mean": float(error.mean()),
        "gradient/median": float(np.median(error)),
        "gradient/size": float(wanted.mean()),
    }


def report(metrics: Mapping[str, float]) -> str:
    """The metrics of a model as Markdown: a table beside the baselines, and what else is known.

    Args:
        metrics: of `evaluate`; those of single stages are left out.
    """
    columns = (*SCORES, "drift")
    rows = {"model": "", "without conservation": "free/", "in a chain": "rollout/"}
    others = ("persistence", "yesterday", *BASELINES)
    rows |= {name.replace("_", " "): f"{name}/" for name in others}
    rows["solver"] = "solver/"
    lines = ["| | " + " | ".join((*columns, "us a trajectory")) + " |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for row, prefix in rows.items():
        cells = [metrics.get(prefix + column) for column in columns]
        if cells[1] is not None:
            seconds = metrics.get(f"time/{row}")
            cells.append(None if seconds is None else 1e6 * seconds)
            told = ("" if cell is None else f"{cell:.2g}" for cell in cells)
            lines.append(f"| {row} | " + " | ".join(told) + " |")
    groups = ("failed", "solver/rtol", "outside/", "inside/", "gradient/", "gate/", "spread/")
    groups += tuple(f"rollout/{name}" for name in ("growth", "failed", "mean_dex_"))
    groups += ("err_", "k_err", "max_err_k")
    others = [f"- {n}: {v:.3g}" for n, v in metrics.items() if n.startswith(groups)]
    return "\n".join([*lines, "", *others]).rstrip() + "\n"
