"""Train several emulators alike, to know where they are to be trusted."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..dataset import Observations
from ..models import Committee, conserving
from ..train import Job
from .base import Result

__all__ = ["committee"]


def committee(
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    train: Callable[..., Result],
    members: int = 5,
    floor: float = 1e-99,
    conserve: bool | str = False,
    job: Job = Job("committee"),
) -> Result:
    """Trains a deep ensemble of emulators.

    Args:
        model: from the stage before, for `train`.
        data: trajectories of every species.
        key: seeds the members, each in its own way.
        train: a stage that makes one member, such as `emulate` with its settings.
        members: how many.
        floor: smallest concentration that is told from zero.
        conserve: wrap the committee, as of `emulate`; it does not help to wrap members.
        job: label, progress and checkpoints, one a member.

    Returns:
        The committee; histories of the members' mean `loss` and `gradient_norm`.

    Raises:
        ValueError: fewer than two members, or as `train`.
    """
    if members < 2:
        raise ValueError(f"members={members}: a committee has two at least.")
    last = conserving(conserve)
    results = []
    for n in range(members):
        own = job.part(n)._replace(label=f"{job.label} {n + 1}/{members}")
        results.append(train(model, data, jax.random.fold_in(key, n), job=own))
    trained = tuple(r.model for r in results)
    made: Any = Committee(trained, np.asarray(floor))  # pyright: ignore
    shortest = min(len(r.history["loss"]) for r in results)  # some may have stopped before others
    history = {
        name: np.mean([r.history[name][:shortest] for r in results], axis=0)
        for name in results[0].history
    }
    for wrapper in last:
        made = wrapper(made, data.network)
    return Result(made, history, {})
