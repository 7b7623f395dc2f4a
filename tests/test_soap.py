import pickle
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxchem.soap import soap
from jaxchem.train import Job, fit, trainable


def normal(*shape, seed=3):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def orthogonal(n, seed):
    return jnp.linalg.qr(normal(n, n, seed=seed))[0]


def least_squares(rows, columns, condition):
    """Loss of W: mean of (A (W - T) B)^2, with A and B ill-conditioned in turned bases."""
    a, b = (
        orthogonal(n, n) @ jnp.diag(jnp.geomspace(1, 1 / condition, n)) @ orthogonal(n, n + 1)
        for n in (rows, columns)
    )
    target = normal(rows, columns)
    return lambda w: jnp.mean((a @ (w - target) @ b) ** 2)


def run(optimizer, loss, parameters, steps, state=None):
    """Every iterate, the first one included, and the last state."""

    @jax.jit
    def go(parameters, state):
        def one(carry, _):
            parameters, state = carry
            updates, state = optimizer.update(jax.grad(loss)(parameters), state, parameters)
            return (optax.apply_updates(parameters, updates), state), parameters

        (last, state), path = jax.lax.scan(one, (parameters, state), None, length=steps)
        return jax.tree.map(lambda p, x: jnp.concatenate([p, x[None]]), path, last), state

    with jax.numpy_dtype_promotion("standard"):  # for optax.adam
        return go(parameters, optimizer.init(parameters) if state is None else state)


def types(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


def test_goes_where_adam_does_not():
    loss = least_squares(12, 8, 100)

    def final(rate, optimizer):
        optimizer = optimizer(optax.cosine_decay_schedule(rate, 600), b1=0.95, b2=0.95)
        return loss(run(optimizer, loss, jnp.zeros((12, 8)), 600)[0][-1])

    adam = jax.lax.map(lambda rate: final(rate, optax.adam), jnp.array([0.01, 0.1, 1.0]))
    assert final(0.1, soap) < jnp.min(adam) / 100


def test_follows_the_paper():
    """Algorithm 3 with its rotations in NumPy; its mean of gradients is kept in the old basis."""
    mix = normal(4, 4)

    def loss(w):  # its gradients turn fast, so that eigenvalues change places
        return jnp.sum(jnp.sin(mix @ w))

    start = normal(4, 6, seed=1)
    optimizer = soap(0.1, b1=0.8, b2=0.9, b3=0.7, every=3, largest=5)
    path, _ = run(optimizer, loss, start, 30)
    w, mean, square = np.asarray(start), np.zeros((4, 6)), np.zeros((4, 6))
    gradient = np.asarray(jax.grad(loss)(w))
    factor, swaps = 0.3 * gradient @ gradient.T, 0
    q = np.linalg.eigh(factor)[1][:, ::-1]
    for t in range(1, 30):
        gradient = np.asarray(jax.grad(loss)(w))
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.9 * square + 0.1 * (q.T @ gradient) ** 2
        turned = (q.T @ mean / (1 - 0.8**t)) / (np.sqrt(square / (1 - 0.9**t)) + 1e-8)
        w = w - 0.1 * q @ turned
        np.testing.assert_allclose(path[t + 1], w, rtol=1e-9, atol=1e-9)
        factor = 0.7 * factor + 0.3 * gradient @ gradient.T
        if t % 3 == 0:
            order = np.argsort(-np.diag(q.T @ factor @ q))
            q, square = np.linalg.qr(factor @ q[:, order])[0], square[order]
            swaps += np.any(order != np.arange(4))
    assert swaps > 0


def test_turns_with_the_basis():
    loss = least_squares(6, 6, 3)
    u, v = orthogonal(6, 1), orthogonal(6, 2)
    start = normal(6, 6, seed=0)

    def apart(optimizer):
        path, _ = run(optimizer, loss, start, 60)
        turned, _ = run(optimizer, lambda w: loss(u.T @ w @ v), u @ start @ v.T, 60)
        wanted = jnp.einsum("ij,tjk,lk->til", u, path, v)
        return jnp.max(jnp.abs(turned - wanted)) / jnp.max(jnp.abs(path[-1] - start))

    assert apart(soap(0.03)) < 1e-7  # small eigenvalues of a square lose half of the digits
    assert apart(optax.adam(0.03, 0.95, 0.95)) > 1e-2


def test_other_leaves_take_the_steps_of_adam():
    target = [normal(*shape) for shape in [(), (7,), (7, 1), (3, 4, 2), (9, 8)]]
    zero = jax.tree.map(jnp.zeros_like, target)
    schedule = optax.cosine_decay_schedule(0.1, 50)

    def loss(w):
        return optax.tree.sum(jax.tree.map(lambda w, t: jnp.cosh(w - t), w, target))

    path, _ = run(soap(schedule, b1=0.8, b2=0.9, largest=7), loss, zero, 31)
    other, _ = run(optax.adam(schedule, 0.8, 0.9), loss, zero, 30)
    for mine, wanted in zip(path, other, strict=True):
        np.testing.assert_array_equal(mine[0], mine[1])
        np.testing.assert_allclose(mine[1:], wanted, rtol=1e-13, atol=1e-15)


def test_resumes():
    loss = least_squares(5, 7, 10)
    optimizer = soap(0.03, every=4)
    whole, end = run(optimizer, loss, jnp.zeros((5, 7)), 25)
    half, state = run(optimizer, loss, jnp.zeros((5, 7)), 14)
    leaves, structure = jax.tree.flatten(state)
    leaves = pickle.loads(pickle.dumps([*map(np.asarray, leaves)]))
    state = jax.tree.unflatten(structure, map(jnp.asarray, leaves))
    rest, again = run(optimizer, loss, half[-1], 11, state)
    np.testing.assert_array_equal(whole[14:], rest)
    jax.tree.map(np.testing.assert_array_equal, end, again)


@pytest.mark.parametrize(
    ("dtype", "rate"), [(jnp.float32, 0.01), (jnp.float64, optax.cosine_decay_schedule(0.01, 9))]
)
def test_keeps_types_under_strict_promotion(dtype, rate):
    optimizer = soap(rate, largest=4)
    parameters = {"w": jnp.ones((3, 4), dtype), "wide": jnp.ones((3, 5), dtype), "b": None}
    parameters["scalar"] = jnp.ones((), dtype)
    state = optimizer.init(parameters)
    gradients = jax.tree.map(jnp.cos, parameters)
    update = jax.jit(optimizer.update)
    for _ in range(3):
        updates, new = update(gradients, state, parameters)
        assert types(updates) == types(parameters)
        assert types(new) == types(state)
        assert jax.tree.all(jax.tree.map(lambda x: jnp.isfinite(x).all(), (updates, new)))
        state = new


def test_zero_gradients_move_nothing():
    path, state = run(soap(0.1, every=2), lambda w: 0.0 * jnp.sum(w), jnp.ones((3, 4)), 9)
    np.testing.assert_array_equal(path, jnp.ones((10, 3, 4)))
    assert jax.tree.all(jax.tree.map(lambda x: jnp.isfinite(x).all(), state))


def test_without_parameters():
    optimizer = soap(0.1)
    empty: Any = {"a": None}
    updates, _ = optimizer.update(empty, optimizer.init(empty))
    assert updates == empty


def test_trains_a_module(tmp_path):
    x = jnp.linspace(-1, 1, 40)[:, None]
    model = eqx.nn.MLP(1, 1, 16, 2, jax.nn.tanh, key=jax.random.key(0))

    def loss(model, batch, key):
        del key
        return jnp.mean((jax.vmap(model)(batch) - jnp.sin(4 * batch)) ** 2)

    def job(path):
        return fit(
            loss,
            model,
            x,
            optimizer=optax.with_extra_args_support(soap(0.01)),
            steps=200,
            key=jax.random.key(1),
            job=Job(progress=False, path=path),
        )

    trained, history = job(tmp_path / "fit")
    assert history["loss"][0] == history["loss"][1] > 0.1
    assert history["loss"][-1] < 1e-3
    read, _ = job(tmp_path / "fit")
    assert eqx.tree_equal(eqx.filter(trained, trainable), eqx.filter(read, trainable))
