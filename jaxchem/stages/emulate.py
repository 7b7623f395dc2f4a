"""Train an emulator on trajectories."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ..dataset import Observations
from ..models import AbstractEmulator, AbstractWrapper, conserving, similar
from ..models.base import columns, hands_on
from ..network import Network
from ..train import Job, fit, recipe
from .base import Result

__all__ = ["emulate"]


@hands_on(recipe, without=("steps",))
def emulate(
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[..., AbstractEmulator] | None = None,
    weights: Mapping[str, float] | None = None,
    normalise: bool = False,
    points: int | None = None,
    steps: int = 10_000,
    batch_size: int | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    similarity: Mapping[str, Any] | None = None,
    conserve: bool | str = False,
    wrap: Sequence[Callable[[AbstractEmulator, Network], AbstractEmulator]] = (),
    job: Job = Job("emulate"),
    **settings: Any,
) -> Result:
    """Fits an emulator so that it meets the observed trajectories.

    Args:
        model: from the stage before; ignored where `start` is given.
        data: trajectories of every species.
        key: seeds weights and batches.
        start: `(data, key=key) -> model`, such as `FlowMap.fitted`.
        weights: of the model's loss terms by name; `None` is the trajectory term alone.
        normalise: divide each weight by what its term is at the start of this stage, as the
            published recipe does after some steps of burn-in.
        points: times a step, drawn anew for each by `at_times` of the examples; `None` takes all.
        steps: optimiser steps.
        batch_size: trajectories a step; `None` takes all.
        validation: this part of the trajectories is not trained on, nor seen by `start`; the model
            with the smallest loss on it is kept.
        patience: stop after so many times 200 steps without a smaller one.
        similarity: the data are of gases on one line, from time 0: wrap the trained model so that
            it takes all. The settings of `models.similar`.
        conserve: wrap the trained model so that its outputs hold the elements and the charge of
            the initial state (see `models.conserved`); ``"reservoirs"`` lets the species that hold
            most make up for what is off, which takes little time.
        wrap: further wrappers of the trained model, `(model, network) -> model`, inner ones first.
        job: label, progress and checkpoint.
        **settings: of `train.recipe`.

    Returns:
        The fitted model; histories `loss` and `gradient_norm`.

    Raises:
        ValueError: there is no model to start from, a loss term that is unknown or cannot be
            normalised, patience without validation, or examples that L-BFGS would see a part of.
    """
    last = conserving(conserve)
    optimizer = recipe(steps=steps, **settings)
    for name, part in {"batch_size": batch_size, "points": points}.items():
        if part is not None and settings.get("optimizer") == "lbfgs":
            raise ValueError(f"{name}={part}: L-BFGS wants all examples at once; set {name}=null.")
    if patience is not None and not validation:
        raise ValueError(
            f"patience={patience} waits for a smaller loss on what is held back, but that is "
            "nothing; set validation too, as 0.1."
        )
    held = None
    if validation:
        order = np.random.default_rng(0).permutation(len(data.y0))
        aside = round(validation * len(order))
        if job.rehearsal:  # of fewer cases
            aside = max(aside, 1)
        if not 0 < aside < len(order):
            raise ValueError(
                f"validation={validation} of {len(order)} trajectories leaves none to train on or "
                "none to validate on."
            )
        held, data = data.chosen(order[:aside]), data.chosen(order[aside:])
    first, key = jax.random.split(key)
    if start is not None:
        model = start(data, key=first)
    # what the stage before wrapped it in; not a committee, which has several inside
    while isinstance(model, AbstractWrapper) and "inner" in vars(model):
        model = model.inner
    if not isinstance(model, AbstractEmulator):
        got = "no model" if model is None else f"a {type(model).__name__}"
        raise ValueError(f"stage {job.label} trains an emulator but got {got}; give it a start.")
    columns(model.about.states, data.network.species, "states")
    if model.about.states != data.network.species:
        raise ValueError(
            f"the states of the {type(model).__name__} are those of network {data.network.name!r} "
            "in another order; train it on data of a network in its order."
        )
    data = data.in_order(model.about.conditions)
    held = held and held.in_order(model.about.conditions)
    examples, held = (None if part is None else model.examples(part) for part in (data, held))
    weights = {"trajectory": 1.0} if weights is None else dict(weights)
    count = len(data.ts)
    fewer = points if points is not None and points < count else None
    if fewer and not hasattr(examples, "at_times"):
        raise ValueError(
            f"points={points}: a {type(model).__name__} learns whole trajectories; set points=null."
        )
    known = jax.eval_shape(
        lambda e: model.terms(e.at_times(jnp.arange(fewer)) if fewer else e, key), examples
    )
    for name in weights:
        if name not in known:
            raise ValueError(
                f"a {type(model).__name__} has no loss term {name!r} of {fewer or count} times; "
                f"known: {', '.join(known)}."
            )
    if normalise:
        terms = eqx.filter_jit(lambda model, *of: model.terms(*of))(model, examples, key)
        if nothing := [name for name in weights if not terms[name] > 0]:
            raise ValueError(
                f"the loss term {nothing[0]!r} is {float(terms[nothing[0]]):g} where this stage "
                "begins, so its weight cannot be divided by it; leave it out "
                f"(~stages.{job.label}.weights.{nothing[0]}), or set normalise=false."
            )
        weights = {name: weight / float(terms[name]) for name, weight in weights.items()}

    def objective(model: Any, batch: Any, key: PRNGKeyArray) -> Any:
        drawn, key = jax.random.split(key)
        if fewer:
            chosen = jax.random.choice(drawn, count, (fewer,), replace=False)
            batch = batch.at_times(jnp.sort(chosen))  # a solver wants its output times in order
        terms = model.terms(batch, key)
        parts = [terms[name] * jnp.asarray(w, terms[name].dtype) for name, w in weights.items()]
        return jnp.sum(jnp.stack(parts))

    model, history = fit(
        objective,
        model,
        examples,
        optimizer=optimizer,
        steps=steps,
        key=key,
        batch_size=batch_size,
        held=held,
        patience=patience,
        job=job,
    )
    network = data.network
    wrappers = list(wrap)
    if similarity is not None:
        wrappers.insert(0, functools.partial(similar, **similarity))
    for wrapper in (*wrappers, *last):
        model = wrapper(model, network)
    return Result(model, history, {})
