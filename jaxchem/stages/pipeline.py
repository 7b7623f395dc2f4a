"""Stages in order, each from the model of the one before, kept in a run's folder."""

import functools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
from jaxtyping import PRNGKeyArray

from .. import checkpoint, models
from ..dataset import Observations, label_history, write
from ..solvers import Integrator
from ..train import Job
from .base import Result, deviations
from .evaluate import Report, evaluate
from .prepare import Data

__all__ = ["Outcome", "given", "pursue"]

log = logging.getLogger("jaxchem")

_TOLD = (
    *("err_k", "k_err", "max_err_k", "change_k", "err_y", "err_dy", "identified", "failed"),
    *("rmse", "mean_dex", "p99_dex", "max_dex", "drift"),
)


class Outcome(NamedTuple):
    """What stages came to.

    Attributes:
        model: of the last.
        report: on it.
        metrics: of all, each under the name of its stage, and of the last as they are.
        deviation: [R] posterior deviation of ln k, where the last stage knows it.
    """

    model: Any
    report: Report
    metrics: dict[str, float]
    deviation: Any


def pursue(
    stages: Mapping[str, Callable[..., Result]],
    settings: Mapping[str, Any],
    data: Data,
    key: PRNGKeyArray,
    folder: Path,
    *,
    integrator: Integrator,
    floor: float = 0.0,
    counted: float = 0.0,
    gradients: int = 8,
    mark: str = "",
    job: Job = Job(),
) -> Outcome:
    """Runs stages and measures what they make.

    Stages that `folder` has already, with the same settings, are taken up.

    Args:
        stages: by name, in order.
        settings: of each stage by name, to tell its work from that of others.
        data: what they learn from and are measured on.
        key: seeds the stages.
        folder: keeps models, histories and progress.
        integrator: of the solver beside the last model.
        floor: of `evaluate`.
        counted: likewise.
        gradients: of `evaluate`.
        mark: tells data and all else that stages start from.
        job: whether to show bars, and how often to keep progress.
    """
    how: dict[str, Any] = {"integrator": integrator, "floor": floor, "counted": counted}
    measure = functools.partial(evaluate, data=data.test, **how)
    model, deviation, metrics, found, trained = None, None, {}, {}, False
    for position, (name, stage) in enumerate(stages.items()):
        done = folder / name / "model.eqx"
        # what a stage does depends on its settings and on the stages before it
        mark = checkpoint.digest(mark, name, settings[name])
        header = checkpoint.read_header(done) if done.exists() else {}
        if header.get("fingerprint") == mark and header["trained"]:
            model, trained = models.load_model(done), True
            deviation, found = header["deviation"], header["metrics"]
            log.info("stage %s: taken up from %s", name, done)
        else:
            begin, last = time.monotonic(), folder / name / "last.eqx"
            own = job._replace(label=name, path=last, fingerprint=mark)
            # of a finished stage with other settings; its model stays until there is a new one
            for kept in own.kept if done.exists() else ():
                if checkpoint.read_header(kept).get("fingerprint") != mark:
                    kept.unlink()
            log.info("stage %s", name)
            # the first draws from the seed itself: its start is that of the stage called alone
            its_key = jax.random.fold_in(key, position) if position else key
            result = stage(model, data.seen, its_key, job=own)
            model, found = result.model, result.metrics
            if position < len(stages) - 1:
                found = {**measure(model, brief=True).metrics, **found}
            told_of = result.posterior
            deviation = told_of and deviations(told_of, model.network).tolist()
            fitted = any(len(values) for values in result.history.values())
            if fitted:
                write(label_history(result.history), folder / name / "history.nc")
            about = {"metrics": found, "deviation": deviation, "trained": fitted}
            models.save(done, model, fingerprint=mark, **about)
            trained |= fitted
            log.info("stage %s: %.0f s; %s", name, time.monotonic() - begin, told(found))
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
    model = cast(models.AbstractEmulator, model)
    if trained and not data.apart and model.rate_coefficients(data.seen.middle) is None:
        log.warning(
            "the model is measured on the trajectories that it was trained on, which says little: "
            "hold some back by data.split=0.1, or give others by data.test.path=FILE"
        )
    train = data.seen if data.apart else None
    report = measure(model, train=train, gradients=gradients)
    last = {f"{list(stages)[-1]}/{key}": value for key, value in report.metrics.items()}
    return Outcome(model, report, {**found, **metrics, **report.metrics, **last}, deviation)


def told(metrics: Mapping[str, float]) -> str:
    """The metrics that people look for first."""
    return ", ".join(f"{name} {metrics[name]:.3g}" for name in _TOLD if name in metrics)


def given(
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[..., Any],
    job: Job = Job(),
) -> Result:
    """A stage that trains nothing: its model is the one that `start` makes, as from a file."""
    del model, job
    return Result(start(data, key=key), {}, {})
