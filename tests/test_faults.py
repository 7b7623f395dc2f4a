"""Derivatives of what failed or is done, idle species, dense output: each was wrong once."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CHAIN, EXCHANGE, Reference, initial, state

import jaxchem
from jaxchem.parse import table
from jaxchem.solvers import native


@pytest.fixture(params=["kernel", "diffrax"])
def engine(request, monkeypatch):
    """Which one solves: the compiled kernel if there is one, or diffrax."""
    if request.param == "diffrax":
        monkeypatch.setattr(native, "available", lambda: False)


@pytest.mark.parametrize(
    "engine, method",
    [
        *(("kernel", "rodas5p"), ("diffrax", "rodas5p"), ("diffrax", "kvaerno5")),
        pytest.param("kernel", "rodas3", marks=pytest.mark.slow),
        pytest.param("diffrax", "rodas3", marks=pytest.mark.slow),
    ],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_gradients_of_batches_under_rates_that_vary(method):
    """A member that is done before the others takes steps of length 0."""
    network, reference = table.loads(EXCHANGE), Reference.parse(EXCHANGE)
    ends, starts = np.array([0.05, 20.0]), np.array([[1.0, 0.2], [0.3, 1.5]])

    def swing(p, t, sin):
        return 290.0 + p * sin(t)

    def ours(p):
        k = network.rates(temperature=lambda t: swing(p, t, jnp.sin))
        how = {"rtol": 1e-9, "atol": 1e-13, "method": method, "throw": False}
        return jax.vmap(lambda y, t: jaxchem.solve(network, k, y, t[None], **how).ys[-1, 0])(
            jnp.asarray(starts), jnp.asarray(ends)
        ).sum()

    def truth(p):
        return sum(
            reference.solve(
                lambda t: reference.k(temperature=swing(p, t, np.sin)),
                dict(zip("AB", start, strict=True)),
                np.array([end]),
                rtol=1e-12,
            )[-1, 0]
            for start, end in zip(starts, ends, strict=True)
        )

    expected = (truth(10.1) - truth(9.9)) / 0.2
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(10.0), expected, rtol=1e-5)


@pytest.mark.usefixtures("engine")
def test_failed_members_have_no_derivatives():
    """NaN forward and in reverse; a loss that leaves them out is not spoilt."""
    network, y0 = jaxchem.load("robertson"), state("robertson")
    rates = network.rates()
    ends = jnp.array([0.1, 1e5])  # the second takes more steps than it may

    def last(scale, end, adjoint):
        how = {"max_steps": 50, "throw": False, "adjoint": adjoint}
        return jaxchem.solve(network, scale * rates, y0, jnp.stack([0.5 * end, end]), **how)

    def member(scale, adjoint):
        found = jax.vmap(lambda end: last(scale, end, adjoint).ys[-1, 0])(ends)
        return found

    reverse = jax.jit(jax.jacrev(lambda s: member(s, "reverse")))(1.0)
    forward = jax.jit(jax.jacfwd(lambda s: member(s, "forward")))(1.0)
    for found in (reverse, forward):
        np.testing.assert_array_equal(np.isnan(found), [False, True])
    np.testing.assert_allclose(reverse[0], forward[0], rtol=1e-6)

    def masked(scale):
        values = member(scale, "reverse")
        return jnp.sum(jnp.where(jnp.isfinite(values), values, 0.0))

    np.testing.assert_allclose(jax.jit(jax.grad(masked))(1.0), forward[0], rtol=1e-6)


@pytest.mark.skipif(not native.available(), reason="there is no C compiler")
def test_derivatives_of_the_end_state():
    """It is the last output of a solve that succeeds, and has no derivative in another."""
    network, y0 = jaxchem.load("robertson"), state("robertson")
    k, ts = network.rates(), jnp.array([1.0, 10.0])

    def end(k, adjoint, **how):
        found = jaxchem.solve(network, k, y0, ts, adjoint=adjoint, throw=False, **how)
        return found.stats["end_state"], found.ys[-1]

    for adjoint, by in (("reverse", jax.jacrev), ("forward", jax.jacfwd)):
        stats, output = by(lambda k, a=adjoint: end(k, a))(k)
        assert np.any(np.asarray(output))
        np.testing.assert_allclose(stats, output, rtol=1e-12)
        stats, _ = by(lambda k, a=adjoint: end(k, a, max_steps=12))(k)
        assert np.isnan(stats).all()


@pytest.mark.usefixtures("engine")
def test_idle_species_without_a_tolerance():
    """0 over 0 in the error of a species that is not there and does not come."""
    network = table.loads(CHAIN)
    ts, y0 = jnp.array([0.5, 2.0]), jnp.array([0.0, 0.0, 0.0, 1.0])  # nothing but the end product
    for method in ("rodas5p", "kvaerno5"):
        found = jaxchem.solve(
            network, network.rates(), y0, ts, atol=0.0, method=method, throw=False
        )
        assert diffrax.is_successful(found.result)
        np.testing.assert_array_equal(found.ys, [y0, y0])


@pytest.mark.usefixtures("engine")
def test_rodas3_between_its_steps():
    """An interpolant of its own: 1.4e-2 off before, when it was a straight line."""
    network, reference = jaxchem.load("pollu"), Reference.read("pollu")
    ts = np.linspace(0.0, 60.0, 241)[1:]
    expected = reference.solve(reference.k(), initial("pollu"), ts, rtol=1e-10, atol=1e-22)
    found = jaxchem.solve(
        network,
        network.rates(),
        state("pollu"),
        ts,
        **{"method": "rodas3", "output": "interpolate", "rtol": 1e-3},
    )
    assert int(found.stats["num_steps"]) < 0.5 * len(ts)
    np.testing.assert_allclose(found.ys, expected, rtol=2.5e-3)


@pytest.mark.usefixtures("engine")
def test_first_steps_of_each_member():
    network, y0 = jaxchem.load("robertson"), state("robertson")
    k = network.rates()

    def steps(first):
        found = jaxchem.solve(network, k, y0, [10.0], dt0=first, rtol=1e-5)
        return found.stats["num_steps"], found.ys

    firsts = jnp.array([1e-8, 1e-3])
    counts, ys = jax.vmap(steps)(firsts)
    assert counts[0] > counts[1]
    np.testing.assert_allclose(ys[0], ys[1], rtol=1e-3)
    assert counts.tolist() == [int(steps(first)[0]) for first in firsts]
