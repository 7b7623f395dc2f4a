"""One training loop: any model, any loss, any optax optimiser, with resume.

JAX arrays of floating point in a model are its parameters; NumPy arrays are constants.
"""

import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from tqdm import tqdm

from . import checkpoint
from .soap import soap

__all__ = ["Resume", "adam", "fit", "scheduled", "trainable"]

log = logging.getLogger("jaxchem")

Model = TypeVar("Model")


class Resume(NamedTuple):
    """Where a stage keeps its progress, and what tells its work from another configuration's."""

    path: Path
    fingerprint: str


class _Best(NamedTuple):
    parameters: PyTree
    loss: Float[Array, ""]  # on what is held back
    waited: Int[Array, ""]  # looks since then
    history: Float[Array, " steps"]


class _State(NamedTuple):
    parameters: PyTree
    optimizer: PyTree
    before: tuple[PyTree, PyTree]  # parameters and optimizer that the last step started from
    shrink: Float[Array, ""]  # factor on the next update
    refused: Int[Array, ""]  # steps in a row
    step: Int[Array, ""]
    loss: Float[Array, " steps"]
    gradient_norm: Float[Array, " steps"]
    best: _Best | None


def trainable(leaf: Any) -> bool:
    """Whether a leaf is a parameter: a JAX array (not a NumPy one) of floating point."""
    return isinstance(leaf, jax.Array) and eqx.is_inexact_array(leaf)


def adam(
    learning_rate: float,
    *,
    patience: int | None = None,
    factor: float = 0.1,
    clip: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam (Kingma & Ba 2015), with the learning rate cut when the loss stalls.

    Args:
        learning_rate: initial.
        patience: steps without a better loss before the rate is multiplied by `factor`; `None`
            keeps it constant.
        factor: of each cut.
        clip: largest magnitude of any element of the gradient; `None` does not clip.
    """
    parts = [] if clip is None else [optax.clip(clip)]
    parts.append(optax.adam(learning_rate))
    if patience is not None:
        parts.append(optax.contrib.reduce_on_plateau(factor=factor, patience=patience))
    return optax.with_extra_args_support(optax.chain(*parts))


def scheduled(
    name: str,
    learning_rate: float,
    *,
    steps: int,
    last: float = 0.0,
    warm_up: int = 100,
    refresh: int = 10,
) -> optax.GradientTransformationExtraArgs:
    """An optimiser whose rate rises linearly and then falls as a cosine.

    Args:
        name: ``"adam"``, ``"soap"``, or ``"lbfgs"``, which searches along each step for its length
            instead and wants all examples at once.
        learning_rate: the highest.
        steps: until it is `last`.
        last: the rate at the end.
        warm_up: steps of its rise; at most a tenth of all.
        refresh: steps from one refresh of SOAP's bases to the next.

    Raises:
        ValueError: an unknown optimiser.
    """
    known = {
        "adam": optax.adam,
        "soap": functools.partial(soap, every=refresh),
        "lbfgs": lambda rate: optax.lbfgs(),
    }
    if name not in known:
        raise ValueError(f"unknown optimiser {name!r}; known: {', '.join(known)}.")
    rise = min(warm_up, steps // 10)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, rise, steps, last)
    return optax.with_extra_args_support(known[name](rate))


def fit(
    loss: Callable[[Any, Any, PRNGKeyArray], Float[Array, ""]],
    model: Model,
    data: PyTree,
    *,
    optimizer: optax.GradientTransformationExtraArgs,
    steps: int,
    key: PRNGKeyArray,
    batch_size: int | None = None,
    held: PyTree | None = None,
    patience: int | None = None,
    every: int = 200,
    label: str = "fit",
    resume: Resume | None = None,
    save_every: float = 20.0,
    progress: bool = True,
) -> tuple[Model, dict[str, np.ndarray]]:
    """Minimises a loss over the parameters of a model.

    Every step draws its batch and its key from `key` and the number of the step alone, so a run
    that was killed and resumed takes the very steps of one that was not. A step whose loss or
    gradient is not finite is refused and leaves the model as it was; when a whole epoch and one
    more are refused in a row, the step that led there is taken back, to be tried again at half
    its length.

    Args:
        loss: `(model, batch, key) -> scalar`.
        model: the initial model.
        data: a pytree of arrays with a common leading axis of examples.
        optimizer: an optax transformation; it is given the loss as `value` and what a line search
            wants besides.
        steps: how many steps to take.
        key: seeds batches and whatever randomness the loss has.
        batch_size: examples a step, drawn from a new permutation each epoch; `None` for all.
        held: examples that are not trained on; the model that is given back is the one with the
            smallest loss on them.
        patience: stop after so many looks at `held` without a smaller loss; `None` takes all steps.
        every: steps from one look at `held` to the next.
        label: for the progress bar.
        resume: a checkpoint, written every `save_every` seconds, and resumed from if it exists;
            one of another fingerprint is refused.
        save_every: seconds between checkpoints.
        progress: show a bar with the loss.

    Returns:
        The model after the last step, or the best on `held`; `loss` and `gradient_norm` of each
        step, and with `held` the loss on it since the last look, as `validation`.

    Raises:
        ValueError: no examples, or a checkpoint that is damaged or of another fit.
    """
    parameters, static = eqx.partition(model, trainable)
    count = jax.tree.leaves(data)[0].shape[0]
    if count == 0:
        raise ValueError(f"{label}: there is nothing to fit; the data hold no example.")
    size = count if batch_size is None else min(batch_size, count)
    batches = -(-count // size)
    optimizer = optax.with_extra_args_support(optimizer)
    fresh = optimizer.init(parameters)
    state = _State(
        parameters,
        fresh,
        (parameters, fresh),
        jnp.ones(()),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
        jnp.full(steps, jnp.nan),
        jnp.full(steps, jnp.nan),
        None
        if held is None
        else _Best(
            parameters, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32), jnp.full(steps, jnp.nan)
        ),
    )
    if resume is not None and resume.path.exists():
        state = checkpoint.load(resume.path, state, kind="fit", fingerprint=resume.fingerprint)

    def shuffle(step: Int[Array, ""]) -> Int[Array, " examples"]:
        everything = jnp.arange(count)
        if size == count:
            return everything
        return jax.random.permutation(jax.random.fold_in(key, step // batches), everything)

    def batch(data: PyTree, step: Int[Array, ""], order: Int[Array, " examples"]) -> PyTree:
        if size == count:
            return data
        index = order[((step % batches) * size + jnp.arange(size, dtype=jnp.int32)) % count]
        return jax.tree.map(lambda a: a[index], data)

    def objective(parameters: PyTree, examples: PyTree, key: PRNGKeyArray) -> Float[Array, ""]:
        return loss(eqx.combine(parameters, static), examples, key)

    def one(state: _State, data: PyTree, order: Int[Array, " examples"]) -> _State:
        step_key = jax.random.fold_in(key, count + state.step)
        examples = batch(data, state.step, order)
        value, gradient = jax.value_and_grad(objective)(state.parameters, examples, step_key)
        norm = optax.tree.norm(gradient)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its own types
            updates, new = optimizer.update(
                gradient,
                state.optimizer,
                state.parameters,
                value=value,
                grad=gradient,
                value_fn=lambda parameters: objective(parameters, examples, step_key),
            )
        updates = jax.tree.map(lambda u: u * state.shrink.astype(u.dtype), updates)
        moved = (optax.apply_updates(state.parameters, updates), new)
        good = jnp.isfinite(value) & jnp.isfinite(norm)
        stuck = ~good & (state.refused >= batches)

        def choose(a: Array, b: Array, c: Array) -> Array:
            return jnp.where(good, a, jnp.where(stuck, b, c))

        here = (state.parameters, state.optimizer)
        parameters, inner = jax.tree.map(choose, moved, state.before, here)
        return _State(
            parameters,
            inner,
            jax.tree.map(lambda a, b: jnp.where(good, a, b), here, state.before),
            choose(jnp.minimum(2 * state.shrink, 1), state.shrink / 2, state.shrink),
            jnp.where(good | stuck, 0, state.refused + 1),
            state.step + 1,
            state.loss.at[state.step].set(value.astype(state.loss.dtype)),
            state.gradient_norm.at[state.step].set(norm.astype(state.gradient_norm.dtype)),
            state.best,
        )

    @jax.jit
    def look(state: _State, held: PyTree) -> _State:
        best = cast(_Best, state.best)
        value = objective(state.parameters, held, key).astype(best.loss.dtype)
        better = value < best.loss
        since = jnp.arange(steps, dtype=state.step.dtype)
        since = (since >= state.step - 1 - (state.step - 1) % every) & (since < state.step)
        new = _Best(
            jax.tree.map(lambda a, b: jnp.where(better, a, b), state.parameters, best.parameters),
            jnp.where(better, value, best.loss),
            jnp.where(better, 0, best.waited + 1),
            jnp.where(since, value, best.history),
        )
        return state._replace(best=new)

    @jax.jit
    def advance(state: _State, data: PyTree, number: Int[Array, ""]) -> _State:
        def body(_: Any, carry: tuple[_State, Array]) -> tuple[_State, Array]:
            state, order = carry
            state = one(state, data, order)
            new = state.step % batches == 0  # an epoch's order is drawn once
            return state, jax.lax.cond(new, lambda: shuffle(state.step), lambda: order)

        return jax.lax.fori_loop(0, number, body, (state, shuffle(state.step)))[0]

    def stopped(state: _State) -> bool:
        if patience is None or state.best is None:
            return False
        return int(state.best.waited) >= patience

    def store() -> None:
        if resume is not None:
            checkpoint.save(resume.path, state, kind="fit", fingerprint=resume.fingerprint)

    done, burst, saved = int(state.step), 1, time.monotonic()
    with tqdm(total=steps, initial=done, desc=label, disable=None if progress else True) as bar:
        while done < steps and not stopped(state):
            begin = time.monotonic()
            number = min(burst, steps - done)
            if held is not None:
                number = min(number, every - done % every)
            state = jax.block_until_ready(advance(state, data, jnp.asarray(number)))
            done += number
            if held is not None and (done % every == 0 or done == steps):
                state = look(state, held)
            bar.update(number)
            bar.set_postfix(loss=f"{float(state.loss[done - 1]):.3e}", refresh=False)
            now = time.monotonic()
            if now - begin < 0.5:  # few returns to Python, yet a bar that moves
                burst = min(2 * burst, 4096)
            elif now - begin > 2.0:
                burst = max(burst // 2, 1)
            if now - saved > save_every:
                store()
                saved = now
    store()
    history = {"loss": state.loss, "gradient_norm": state.gradient_norm}
    if state.best is not None:
        history["validation"] = state.best.history
        parameters = state.best.parameters
    else:
        parameters = state.parameters
    history = {name: np.asarray(values)[:done] for name, values in history.items()}
    taken = np.isfinite(history["loss"]) & np.isfinite(history["gradient_norm"])
    if done and not taken.any():
        log.warning(
            "%s: no step of %d had a finite loss and gradient, so the model is as it began; start "
            "it from other parameters, or integrate it with more max_steps or looser tolerances.",
            label,
            done,
        )
    return eqx.combine(parameters, static), history
