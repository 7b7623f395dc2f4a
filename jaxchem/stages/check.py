"""What somebody typed, checked before anything is made."""

import functools
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from ..baselines import BASELINES
from ..dataset import Observations
from ..suggest import closest, no_setting
from ..train import Job
from .prepare import unused

__all__ = ["check", "check_order", "check_settings", "check_used", "missing", "rehearse"]

log = logging.getLogger("jaxchem")

_SCORES = (
    *("mean_dex", "median_dex", "p99_dex", "max_dex", "rmse", "rmse_linear", "median_relative"),
    *("mean_log10_relative", "drift", "err_y", "err_dy", "failed", "smallest_y"),
)
_RATES = ("err_k", "k_err", "err_k_estimated", "max_err_k", "within_10_percent")
_GROUPS = {
    **dict.fromkeys(("free", "persistence", "yesterday", *BASELINES), _SCORES),
    "rollout": (*_SCORES, "growth", *(f"mean_dex_{n}" for n in (24, 48, 72))),
    "solver": (*_SCORES, "rtol"),
    "outside": ("cases", "mean_dex"),
    "inside": ("mean_dex",),
    "gradient": ("mean", "median", "size"),
    "gate": ("limit", "recall", "states", "missed", "mean_dex", "p99_dex"),
    "spread": ("correlation", "within_1", "within_2"),
    "time": ("model", "solver"),
}
_OWN = (
    *("iterations", "converged", "identified", "residual", "err_k_identified", "max_z"),
    "change_k",
)
"""What stages say of themselves."""


_OURS = ("key", "job")
"""What a run gives, and nobody types."""


def check_order(order: Iterable[str], defined: Iterable[str]) -> None:
    """Refuses an order of stages that names none, or one that there is not."""
    defined = [name for name in defined if name != "order"]
    if not order:
        raise ValueError("stages.order is empty; name at least one stage.")
    for name in order:
        if name not in defined:
            hint = closest(name, defined) or ";"
            raise ValueError(f"stages.order names {name!r}{hint} defined: {', '.join(defined)}.")


def check_settings(built: Any, where: str) -> None:
    """Refuses settings that a stage, or the start that it is given, does not have."""
    if not isinstance(built, functools.partial):
        return
    known = inspect.signature(built.func).parameters
    passes_on = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for name, value in built.keywords.items():
        if name not in known and not passes_on:
            free = [n for n, p in known.items() if p.kind is p.KEYWORD_ONLY and n not in _OURS]
            raise ValueError(f"{no_setting(where, name, free)}.")
        check_settings(value, f"{where}.{name}")


def missing(part: Any, name: str = "") -> list[str]:
    """The settings that have no value yet; what refers to one is none of them."""
    if isinstance(part, dict):
        return [found for n, inner in part.items() for found in missing(inner, f"{name}.{n}")]
    return [name.removeprefix(".")] if part == "???" else []


def check_used(overrides: Iterable[str], raw: Any, used: Iterable[str]) -> None:
    """Refuses what was typed and nothing of the run reads.

    Args:
        overrides: ``key=value``, as typed.
        raw: the configuration, references unresolved.
        used: dotted keys of it that the run reads; what they refer to is read too.
    """
    for override in _useless(overrides, raw, used):
        raise ValueError(f"{override} changes nothing: no part of this run reads it.")


def _useless(overrides: Iterable[str], raw: Any, used: Iterable[str]) -> list[str]:
    """What nothing reads."""
    read: list[str] = []
    waiting = list(used)
    while waiting:
        key = waiting.pop()
        read.append(key)
        part: Any = raw
        for name in key.split("."):
            part = part.get(name) if isinstance(part, Mapping) else None
        found = re.findall(r"\$\{([\w.]+)\}", str(part))
        waiting += [other for other in found if other not in read]

    def useless(override: str) -> bool:
        key = re.split("[=@]", override.lstrip("+~"))[0].replace("/", ".")
        pairs = (pair for r in read for pair in ((key, r), (r, key)))
        known = any(f"{a}.".startswith(f"{b}.") for a, b in pairs)
        return not known and key.split(".")[0] not in ("hydra", "experiment")

    return [override for override in overrides if useless(override)]


def check(
    stages: Mapping[str, Callable[..., Any]], plain: Any, raw: Any, typed: Iterable[str], used: Any
) -> None:
    """Checks all that can be checked before data are drawn.

    Args:
        stages: by name, in order.
        plain: the configuration.
        raw: the same, references unresolved.
        typed: its overrides.
        used: keys that every run of stages reads.

    Raises:
        ValueError: what is wrong, and what was perhaps meant.
    """
    for name, stage in stages.items():
        check_settings(stage, f"stages.{name}")
    check_numbers(plain)
    read = [*used, *(f"data.{n}" for n in raw["data"] if n not in unused(raw["data"]))]
    check_used(typed, raw, [*read, "stages"])
    now = [*read, "stages.order", *(f"stages.{name}" for name in stages)]
    for override in _useless(typed, raw, now):
        log.warning("%s changes nothing: it is of a stage that is not in stages.order", override)
    check_metric(plain["metric"], stages)


def check_numbers(plain: Mapping[str, Any]) -> None:
    """Refuses what is no number where one is wanted."""
    places = {name: plain.get(name) for name in ("seed", "data_seed", "gradients", "save_every")}
    own = ("counted", "floor", "split", "t0", "time_scale")
    places |= {f"data.{name}": plain["data"].get(name) for name in own}
    for name, value in places.items():
        whole = name in ("seed", "data_seed", "gradients")
        kind = int if whole else int | float
        if value is None and name.startswith("data."):
            continue
        if not isinstance(value, kind) or isinstance(value, bool) or (whole and value < 0):
            what = "a whole number that is not negative" if whole else "a number"
            raise ValueError(f"{name}={value}: give {what}.")


def check_metric(metric: str | None, stages: Mapping[str, Callable[..., Any]]) -> None:
    """Refuses a metric that no run of these stages has; those of others' stages are not known."""
    homes = [getattr(getattr(s, "func", s), "__module__", "") for s in stages.values()]
    if metric is None or not all(home.startswith("jaxchem.") for home in homes):
        return
    group, _, name = metric.rpartition("/")
    first, _, rest = group.partition("/")
    group = rest if first in stages else group
    known = (*_SCORES, *_RATES, *_OWN) if not group else _GROUPS.get(group, ())
    if name not in known:
        own = [*_SCORES, *_RATES]
        options = [*own, *_OWN]
        options += [f"{group}/{name}" for group, names in _GROUPS.items() for name in names]
        hint = closest(metric, options) or "."
        raise ValueError(
            f"metric={metric} is none that a run has{hint} Known: {', '.join(own)}, and "
            f"those of {', '.join(_GROUPS)}."
        )


def rehearse(
    stages: Mapping[str, Callable[..., Any]],
    sketch: Callable[[], Observations],
    metric: str | None = None,
) -> None:
    """Goes through stages with sketched data and fits nothing.

    Raises:
        ValueError: what one of them, or the data, would run into.
    """
    with _told("the data cannot be made with these settings"):
        data = sketch()
    model: Any = None
    for name, stage in stages.items():
        job = Job(name, progress=False, rehearsal=True)
        with _told(f"stage {name} cannot be done with this model and these data"):
            model = stage(model, data, jax.random.key(0), job=job).model
    group, _, name = (metric or "").rpartition("/")
    group = group.removeprefix(f"{list(stages)[-1]}/")
    inputs = data.y0[0], jnp.zeros(len(model.about.conditions)), data.ts
    lacks = {
        "rate coefficients": name in _RATES and model.rate_coefficients(data.middle) is None,
        "chain of predictions": group == "rollout" and not model.restarts,
        "spread": group in ("gate", "spread") and jax.eval_shape(model.spread, *inputs) is None,
        "model inside to compare": group == "free" and not getattr(model, "corrects", False),
    }
    for what, missing in lacks.items():
        if missing and not (group in stages and group != list(stages)[-1]):
            raise ValueError(f"metric={metric}: a {type(model).__name__} has no {what}.")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of what was typed, in one sentence."""
    kinds = (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError)
    try:
        yield
    except kinds as error:
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f"{what} ({type(error).__name__}: {lines[0]}).") from error
