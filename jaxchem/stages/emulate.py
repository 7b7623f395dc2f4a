"""Train an emulator on trajectories."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ..dataset import Observations
from ..formula import CHARGE, STANDARD_WEIGHTS
from ..models import Conserved, FlowMap, Latent, Similar, StepMap, conserved, similar
from ..network import Network
from ..train import fit, scheduled
from .base import Problem, Result, Resume

__all__ = ["emulate", "new_flow_map", "new_latent", "new_step_map"]


def new_latent(
    problem: Problem,
    data: Observations,
    key: PRNGKeyArray,
    *,
    per_species: bool = False,
    **settings: Any,
) -> Latent:
    """A latent emulator with random weights and the scales of the data.

    Args:
        problem: the network.
        data: trajectories of every species.
        key: seeds the weights.
        per_species: see `Latent.scaled_to`.
        **settings: of `Latent`.
    """
    network = problem.network
    weights = np.array([STANDARD_WEIGHTS.get(element, 0.0) for element in network.elements])
    model = Latent(len(network.species), data.conditions.shape[1], key=key, **settings)
    return model.scaled_to(
        data.ts,
        data.states,
        data.conditions,
        per_species=per_species,
        masses=weights @ network.composition,
    )


def new_flow_map(
    problem: Problem, data: Observations, key: PRNGKeyArray, **settings: Any
) -> FlowMap:
    """A flow map with random weights and the modes of the data (see `FlowMap.fitted_to`).

    Nuclei of the elements are inputs too: which of two is left over decides what is made.
    """
    sums = _nuclei(problem.network)
    parts = (data.y0, data.conditions, data.ts, data.states)
    return FlowMap.fitted_to(*map(np.asarray, parts), sums=sums, key=key, **settings)


def new_step_map(
    problem: Problem, data: Observations, key: PRNGKeyArray, **settings: Any
) -> StepMap:
    """A step map with random weights and the modes of the data (see `StepMap.fitted_to`).

    The totals that it is given are of all that the network balances, save for the charge.
    """
    return StepMap.fitted_to(
        *map(np.asarray, (data.y0, data.conditions, data.ts, data.states)),
        composition=_nuclei(problem.network),
        start=float(data.t0),
        key=key,
        **settings,
    )


def _nuclei(network: Network) -> np.ndarray:
    """[E, S] what the network balances, save for the charge."""
    return network.conserved[[name != CHARGE for name in network.balanced]]


def emulate(
    problem: Problem,
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[[Problem, Observations, PRNGKeyArray], Any] | None = None,
    weights: Mapping[str, float] | None = None,
    normalise: bool = False,
    points: int | None = None,
    steps: int = 10_000,
    optimizer: str = "soap",
    learning_rate: float = 3e-3,
    last_rate: float = 0.0,
    warm_up: int = 100,
    refresh: int = 10,
    batch_size: int | None = 64,
    validation: float = 0.0,
    patience: int | None = None,
    similarity: Mapping[str, Any] | None = None,
    conserve: bool = False,
    resume: Resume | None = None,
    save_every: float = 20.0,
    label: str = "emulate",
    progress: bool = True,
) -> Result:
    """Fits an emulator so that it meets the observed trajectories.

    Args:
        problem: the network.
        model: from the stage before; ignored where `start` is given.
        data: trajectories of every species.
        key: seeds weights and batches.
        start: makes the initial model.
        weights: of the model's loss terms by name; `None` is the trajectory term alone.
        normalise: divide each weight by what its term is at the start of this stage, as the
            published recipe does after some steps of burn-in.
        points: times a step, drawn anew for each; `None` takes all.
        steps: optimiser steps.
        optimizer: ``"soap"``, ``"adam"`` or ``"lbfgs"`` (see `train.scheduled`).
        learning_rate: the highest, after `warm_up` steps; a cosine takes it to `last_rate`.
        last_rate: at the last step.
        warm_up: steps; at most a tenth of all.
        refresh: steps from one refresh of SOAP's bases to the next.
        batch_size: trajectories a step.
        validation: this part of the trajectories is not trained on, nor seen by `start`; the model
            with the smallest loss on it is kept.
        patience: stop after so many times 200 steps without a smaller one.
        similarity: the data are of gases on one line, from time 0: wrap the trained model so that
            it takes all. The settings of `models.similar`.
        conserve: wrap the trained model so that its outputs hold the elements and the charge of
            the initial state (see `models.conserved`).
        resume: where to keep progress.
        save_every: seconds between checkpoints.
        label: for the progress bar.
        progress: show a bar.

    Returns:
        The fitted model; histories `loss` and `gradient_norm`.

    Raises:
        ValueError: there is no model to start from, an unknown loss term, or patience without
            validation.
    """
    if patience is not None and not validation:
        raise ValueError(
            f"patience={patience} waits for a smaller loss on what is held back, but that is "
            "nothing; set validation too, as 0.1."
        )
    held = None
    if validation:
        order = np.random.default_rng(0).permutation(len(data.y0))
        aside = round(validation * len(order))
        if not 0 < aside < len(order):
            raise ValueError(
                f"validation={validation} of {len(order)} trajectories leaves none to train on or "
                "none to validate on."
            )
        held, data = data.chosen(order[:aside]), data.chosen(order[aside:])
    if start is not None:
        model = start(problem, data, key)
    while isinstance(model, Conserved | Similar):  # what the stage before wrapped it in
        model = model.model
    if not isinstance(model, FlowMap | Latent | StepMap):
        got = "no model" if model is None else f"a {type(model).__name__}"
        raise ValueError(f"stage {label} trains an emulator but got {got}; give it a start.")
    examples, held = (
        None if part is None else model.examples(part.y0, part.conditions, part.ts, part.states)
        for part in (data, held)
    )
    weights = {"trajectory": 1.0} if weights is None else dict(weights)
    known = jax.eval_shape(model.terms, examples)
    for name in weights:
        if name not in known:
            raise ValueError(
                f"a {type(model).__name__} has no loss term {name!r}; known: {', '.join(known)}."
            )
    if normalise:
        terms = jax.jit(lambda model, examples: model.terms(examples))(model, examples)
        weights = {name: weight / float(terms[name]) for name, weight in weights.items()}
    count = len(data.ts)

    def objective(model: Any, batch: Any, key: PRNGKeyArray) -> Any:
        if points is not None and points < count:
            chosen = jax.random.choice(key, count, (points,), replace=False)
            batch = batch.at(jnp.sort(chosen))  # a solver wants its output times in order
        terms = model.terms(batch)
        parts = [terms[name] * jnp.asarray(w, terms[name].dtype) for name, w in weights.items()]
        return jnp.sum(jnp.stack(parts))

    model, history = fit(
        objective,
        model,
        examples,
        optimizer=scheduled(
            optimizer,
            learning_rate,
            steps=steps,
            last=last_rate,
            warm_up=warm_up,
            refresh=refresh,
        ),
        steps=steps,
        key=key,
        batch_size=batch_size,
        held=held,
        patience=patience,
        label=label,
        resume=resume,
        save_every=save_every,
        progress=progress,
    )
    if similarity is not None:
        model = similar(model, problem.network, data.names, **similarity)
    if conserve:
        model = conserved(model, problem.network)
    return Result(model, history, {})
