"""One training loop: any model, any loss, any optax optimiser, with resume.

JAX arrays of floating point in a model are its parameters; NumPy arrays are constants.
"""

import logging
import re
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
from .suggest import closest

__all__ = ["Job", "fit", "recipe", "trainable"]

log = logging.getLogger("jaxchem")

Model = TypeVar("Model")
Tree = TypeVar("Tree")


class Job(NamedTuple):
    """How a fit tells of its progress, and where it keeps it.

    Attributes:
        label: of the bar and of messages.
        progress: show a bar.
        path: a checkpoint, written every `save_every` seconds and resumed from if it is there;
            `None` keeps nothing.
        fingerprint: tells the work from another configuration's, whose checkpoint is refused.
        save_every: seconds between checkpoints.
        rehearsal: only find out whether it can be done: nothing is fitted.
    """

    label: str = "fit"
    progress: bool = True
    path: Path | None = None
    fingerprint: str = ""
    save_every: float = 20.0
    rehearsal: bool = False

    def load(self, state: Tree, kind: str) -> Tree:
        """The state that is kept, or this one where there is none.

        Raises:
            ValueError: a checkpoint that is damaged, or of other work.
        """
        if self.path is None or not self.path.exists():
            return state
        return checkpoint.load(self.path, state, kind=kind, fingerprint=self.fingerprint)

    def part(self, number: int) -> "Job":
        """A part of the work, with a checkpoint of its own."""
        path = self.path
        own = path and path.with_name(f"{path.stem}_{number}{path.suffix}")
        return self._replace(path=own)

    @property
    def kept(self) -> list[Path]:
        """The checkpoints of the work, of its parts and of theirs that there are."""
        path = self.path
        if path is None:
            return []
        own = re.compile(rf"{re.escape(path.stem)}(_\d+)*{re.escape(path.suffix)}")
        return [other for other in path.parent.glob("*") if own.fullmatch(other.name)]

    def bar(self, total: int, done: int) -> tqdm:
        """A bar of so many steps, of which some are done."""
        shown = None if self.progress else True
        return tqdm(total=total, initial=done, desc=self.label, disable=shown)

    def save(self, state: Any, kind: str) -> None:
        """Keeps a state."""
        if self.path is not None:
            checkpoint.save(self.path, state, kind=kind, fingerprint=self.fingerprint)


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
    auxiliary: PyTree


def trainable(leaf: Any) -> bool:
    """Whether a leaf is a parameter: a JAX array (not a NumPy one) of floating point."""
    return isinstance(leaf, jax.Array) and eqx.is_inexact_array(leaf)


_RECIPE = {"learning_rate": 1e-3, "last_rate": 0.0, "warm_up": 100, "plateau_factor": 0.1}
_RECIPE |= {"refresh": 10}


def recipe(
    *,
    steps: int,
    optimizer: str = "adam",
    learning_rate: float | None = None,
    last_rate: float | None = None,
    warm_up: int | None = None,
    plateau: float | None = None,
    plateau_factor: float | None = None,
    refresh: int | None = None,
    clip: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """An optimiser and the course of its learning rate.

    The rate rises linearly and then falls as a cosine or, with `plateau`, stays until the loss
    stalls.

    Args:
        steps: of the whole fit.
        optimizer: ``"adam"`` (Kingma & Ba 2015), ``"soap"`` (Vyas et al. 2024, arXiv:2409.11321),
            or ``"lbfgs"``, which searches along each step for its length: it takes no other
            setting, and wants all examples at once.
        learning_rate: the highest; 1e-3.
        last_rate: at the last step; 0.
        warm_up: steps of its rise, at most a tenth of all; 100.
        plateau: multiply the rate by `plateau_factor` after this fraction of all steps without a
            better loss.
        plateau_factor: 0.1.
        refresh: steps from one refresh of SOAP's bases to the next; 10.
        clip: largest magnitude of any element of the gradient.

    Raises:
        ValueError: an unknown optimiser, or a setting that it, or the course, ignores.
    """
    settings = {"learning_rate": learning_rate, "last_rate": last_rate, "warm_up": warm_up}
    settings |= {"plateau": plateau, "plateau_factor": plateau_factor, "refresh": refresh}
    settings["clip"] = clip
    given = {name: value for name, value in settings.items() if value is not None}
    course = {"last_rate", "warm_up"} if plateau is None else {"plateau", "plateau_factor"}
    taken = {"learning_rate", "clip", *course}
    takes = {"adam": taken, "soap": {*taken, "refresh"}, "lbfgs": set()}
    if optimizer not in takes:
        hint = closest(optimizer, takes) or "."
        raise ValueError(f"unknown optimizer {optimizer!r}{hint} Known: {', '.join(takes)}.")
    for name in given:
        if name not in takes[optimizer]:
            what = f"optimizer={optimizer}"
            if name in {"last_rate", "warm_up", "plateau_factor"} and optimizer != "lbfgs":
                what = f"plateau={'null' if plateau is None else plateau}"
            raise ValueError(f"{name}={given[name]} has no part with {what}; leave it out (null).")
    if optimizer == "lbfgs":
        return optax.with_extra_args_support(optax.lbfgs())
    how = {**_RECIPE, **given}
    rate = how["learning_rate"]
    if plateau is None:
        rise = min(how["warm_up"], steps // 10)
        last = max(steps, rise + 1)
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, rise, last, how["last_rate"])
    parts = [] if clip is None else [optax.clip(clip)]
    parts.append(optax.adam(rate) if optimizer == "adam" else soap(rate, every=how["refresh"]))
    if plateau is not None:
        wait = max(int(plateau * steps), 1)
        cut = optax.contrib.reduce_on_plateau(factor=how["plateau_factor"], patience=wait)
        parts.append(cut)
    return optax.with_extra_args_support(optax.chain(*parts))


def fit(
    loss: Callable[..., Float[Array, ""]],
    model: Model,
    data: PyTree | Callable[[PRNGKeyArray], PyTree],
    *,
    optimizer: optax.GradientTransformationExtraArgs,
    steps: int,
    key: PRNGKeyArray,
    batch_size: int | None = None,
    held: PyTree | None = None,
    patience: int | None = None,
    every: int = 200,
    redraw: int = 1,
    auxiliary: tuple[PyTree, Callable[..., PyTree]] | None = None,
    job: Job = Job(),
) -> tuple[Model, dict[str, np.ndarray]]:
    """Minimises a loss over the parameters of a model.

    Every step draws its batch and its key from `key` and the number of the step alone, so a run
    that was killed and resumed takes the very steps of one that was not. A step whose loss or
    gradient is not finite is refused and leaves the model as it was; when a whole epoch and one
    more are refused in a row, the step that led there is taken back, to be tried again at half
    its length.

    Args:
        loss: `(model, batch, key) -> scalar`; with `auxiliary`, `(model, batch, key, state)`.
        model: the initial model.
        data: a pytree of arrays with a common leading axis of examples; or a sampler `key ->
            batch`, which is an epoch of its own.
        optimizer: an optax transformation; it is given the loss as `value` and what a line search
            wants besides.
        steps: how many steps to take.
        key: seeds batches and whatever randomness the loss has.
        batch_size: examples a step, drawn from a new permutation each epoch; `None` for all.
        held: examples that are not trained on; the model that is given back is the one with the
            smallest loss on them, which is the mean of that of batches.
        patience: stop after so many looks at `held` without a smaller loss; `None` takes all steps.
        every: steps from one look at `held` to the next.
        redraw: steps for which a sampler's batch serves.
        auxiliary: what else the loss depends on and no gradient changes, as adaptive weights: the
            first state, and `(state, model, batch, key, step) -> state` before every step.
        job: label, progress and checkpoint.

    Returns:
        The model after the last step, or the best on `held`; `loss` and `gradient_norm` of each
        step, and with `held` the loss on it since the last look, as `validation`.

    Raises:
        ValueError: no examples, an empty batch, or a checkpoint that is damaged or of another fit.
    """
    parameters, static = eqx.partition(model, trainable)
    sampler = data if callable(data) else None
    count = 1 if sampler else jax.tree.leaves(data)[0].shape[0]
    if count == 0:
        raise ValueError(f"{job.label}: there is nothing to fit; the data hold no example.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"{job.label}: batch_size={batch_size}; a batch has one example or more.")
    if job.rehearsal:
        return model, {"loss": np.zeros(0), "gradient_norm": np.zeros(0)}
    size = count if batch_size is None else min(batch_size, count)
    batches = -(-count // size)
    drawn, loss_key = jax.random.split(key)
    optimizer = optax.with_extra_args_support(optimizer)
    fresh = optimizer.init(parameters)
    never = jnp.full(steps, jnp.nan)
    none = jnp.zeros((), jnp.int32)
    state = _State(
        parameters,
        fresh,
        (parameters, fresh),
        jnp.ones(()),
        none,
        none,
        never,
        never,
        None if held is None else _Best(parameters, jnp.asarray(jnp.inf), none, never),
        None if auxiliary is None else auxiliary[0],
    )
    state = job.load(state, "fit")

    def shuffle(step: Int[Array, ""]) -> Int[Array, " examples"]:
        everything = jnp.arange(count)
        if size == count:
            return everything
        return jax.random.permutation(jax.random.fold_in(drawn, step // batches), everything)

    def batch(data: PyTree, step: Int[Array, ""], order: Int[Array, " examples"]) -> PyTree:
        if sampler:
            return sampler(jax.random.fold_in(drawn, step // redraw))
        if size == count:
            return data
        index = order[((step % batches) * size + jnp.arange(size, dtype=jnp.int32)) % count]
        return jax.tree.map(lambda a: a[index], data)

    def objective(
        parameters: PyTree, examples: PyTree, key: PRNGKeyArray, further: PyTree
    ) -> Float[Array, ""]:
        more = () if auxiliary is None else (further,)
        return loss(eqx.combine(parameters, static), examples, key, *more)

    def one(state: _State, data: PyTree, order: Int[Array, " examples"]) -> _State:
        step_key = jax.random.fold_in(loss_key, state.step)
        examples, further = batch(data, state.step, order), state.auxiliary
        if auxiliary is not None:
            model = eqx.combine(state.parameters, static)
            further = auxiliary[1](further, model, examples, step_key, state.step)
        given = (examples, step_key, further)
        value, gradient = jax.value_and_grad(objective)(state.parameters, *given)
        norm = optax.tree.norm(gradient)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its own types
            updates, new = optimizer.update(
                gradient,
                state.optimizer,
                state.parameters,
                value=value,
                grad=gradient,
                value_fn=lambda parameters: objective(parameters, *given),
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
            further,
        )

    def judged(state: _State, held: PyTree) -> Float[Array, ""]:
        """The loss on what is held back, by blocks of a batch each."""
        total = jax.tree.leaves(held)[0].shape[0]
        block = total if batch_size is None else min(batch_size, total)
        whole = total // block * block

        def part(examples: PyTree) -> Float[Array, ""]:
            return objective(state.parameters, examples, loss_key, state.auxiliary)

        shape = (whole // block, block)
        blocks = jax.tree.map(lambda a: a[:whole].reshape(*shape, *a.shape[1:]), held)
        value = block * jnp.sum(jax.lax.map(part, blocks))
        if whole < total:
            value += (total - whole) * part(jax.tree.map(lambda a: a[whole:], held))
        return value / total

    @jax.jit
    def look(state: _State, held: PyTree) -> _State:
        best = cast(_Best, state.best)
        value = judged(state, held).astype(best.loss.dtype)
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

    examples = None if sampler else data
    done, burst, saved = int(state.step), 1, time.monotonic()
    with job.bar(steps, done) as bar:
        while done < steps and not stopped(state):
            begin = time.monotonic()
            number = min(burst, steps - done)
            if held is not None:
                number = min(number, every - done % every)
            state = jax.block_until_ready(advance(state, examples, jnp.asarray(number)))
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
            if now - saved > job.save_every:
                job.save(state, "fit")
                saved = now
    job.save(state, "fit")
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
            job.label,
            done,
        )
    return eqx.combine(parameters, static), history
