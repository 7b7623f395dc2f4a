"""SOAP, an optimiser: Adam on matrices turned to the eigenvectors of their gradients' factors."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

__all__ = ["soap"]


class _Side(NamedTuple):
    factor: Float[Array, "n n"]  # running mean of G Gᵀ, of Gᵀ G on the right
    basis: Float[Array, "n n"]  # its eigenvectors, nearly, in falling order


# the left and the right side of a matrix, `None` for one that is too long; () of other leaves
_Sides = tuple[_Side | None, ...]


class _State(NamedTuple):
    step: Int[Array, ""]
    adam: PyTree  # of the turned leaves
    sides: list[_Sides]  # of each leaf


def soap(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.95,
    b2: float = 0.95,
    b3: float = 0.95,
    every: int = 10,
    eps: float = 1e-8,
    largest: int = 1024,
) -> optax.GradientTransformation:
    """SOAP (Vyas et al. 2024, arXiv:2409.11321), without weight decay.

    Matrices take Adam's steps in the eigenbasis of Shampoo's two factors, the running means of
    G Gᵀ and Gᵀ G over gradients G. Other leaves, and matrices of one row or column, take plain
    Adam's. The first step fills the factors and moves nothing.

    Args:
        learning_rate: a number, or a schedule, which starts after the first step.
        b1: decay of Adam's mean of gradients.
        b2: decay of Adam's mean of their squares.
        b3: decay of the factors.
        every: steps from one refresh of the bases to the next.
        eps: of Adam.
        largest: a side of a matrix that is longer than this is not turned.
    """
    adam = cast(Any, optax.adam(learning_rate, b1, b2, eps))  # its types say little

    def init(params: PyTree) -> Any:
        leaves = jax.tree.leaves(params)
        sides = [_sides(leaf, largest) for leaf in leaves]
        return _State(jnp.zeros((), jnp.int32), adam.init(leaves), sides)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[Any, Any]:
        del params
        leaves, structure = jax.tree.flatten(updates)

        def start(sides: list[_Sides]):
            return [*map(jnp.zeros_like, leaves)], state.adam, [*map(_eigenvectors, sides)]

        def go(sides: list[_Sides]):
            updates, (moments, rate) = adam.update([*map(_turn, leaves, sides)], state.adam)
            updates = [*map(_turn_back, updates, sides)]
            moments, sides = jax.lax.cond(
                state.step % every == 0, _refresh, lambda *same: same, moments, sides
            )
            return updates, (moments, rate), sides

        # optax mixes its own types; at a GPU's default precision the bases would not stay straight
        with jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision("highest"):
            sides = [_accumulate(g, s, b3) for g, s in zip(leaves, state.sides, strict=True)]
            updates, inner, sides = jax.lax.cond(state.step == 0, start, go, sides)
        return jax.tree.unflatten(structure, updates), _State(state.step + 1, inner, sides)

    return optax.GradientTransformation(init, update)


def _sides(leaf: Array, largest: int) -> _Sides:
    if leaf.ndim != 2 or min(leaf.shape) < 2:
        return ()
    return tuple(
        _Side(jnp.zeros((n, n), leaf.dtype), jnp.eye(n, dtype=leaf.dtype)) if n <= largest else None
        for n in leaf.shape
    )


# The loops below do to X what the left side wants, then to Xᵀ what the right side wants; two
# transpositions leave X as it was.


def _accumulate(gradient: Array, sides: _Sides, decay: float) -> _Sides:
    new = []
    for side in sides:
        if side is not None:
            factor = decay * side.factor + (1 - decay) * gradient @ gradient.T
            side = side._replace(factor=factor)
        new.append(side)
        gradient = gradient.T
    return tuple(new)


def _turn(x: Array, sides: _Sides) -> Array:
    for side in sides:
        x = (x if side is None else side.basis.T @ x).T
    return x


def _turn_back(x: Array, sides: _Sides) -> Array:
    for side in sides:
        x = (x if side is None else side.basis @ x).T
    return x


def _eigenvectors(sides: _Sides) -> _Sides:
    return tuple(
        side and side._replace(basis=jnp.linalg.eigh(side.factor)[1][:, ::-1]) for side in sides
    )


def _refresh(moments: Any, sides: list[_Sides]) -> tuple[Any, list[_Sides]]:
    """One power iteration for each basis; Adam's means move to the new one.

    The squares cannot be turned; each stays with its eigenvector, in the order of eigenvalues.
    """
    means, squares, new = [], [], []
    for mean, square, old in zip(moments.mu, moments.nu, sides, strict=True):
        turned = []
        for side in old:
            if side is not None:
                image = side.factor @ side.basis
                order = jnp.argsort(-jnp.sum(side.basis * image, axis=0))
                side = side._replace(basis=jnp.linalg.qr(image[:, order])[0])
                square = square[order]
            turned.append(side)
            square = square.T
        means.append(_turn(_turn_back(mean, old), tuple(turned)))
        squares.append(square)
        new.append(tuple(turned))
    return moments._replace(mu=means, nu=squares), new
