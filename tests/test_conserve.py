"""Conservation imposed on states, against scipy and central differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxchem
from jaxchem.conserve import conserve, settle
from jaxchem.metrics import conservation_drift
from jaxchem.models import About, AbstractEmulator, Conserved, Function, conserved, conserving
from jaxchem.train import trainable

# C, H, charge and N of C, C+, CH, CH+, H, H+, e; no species holds N
SMALL = np.array(
    [[1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 0], [0, 1, 0, 1, 0, 1, -1], [0] * 7], dtype=float
)
TOTALS = jnp.array([1.0, 1.0, 0.0, 0.0])


def value(y, totals):
    return jnp.sum(jnp.sin(conserve(SMALL, y, totals)))


slopes = jax.jit(jax.grad(value, (0, 1)))
curvature = jax.jit(jax.jacfwd(slopes))


@pytest.fixture(scope="module")
def osu29():
    return jaxchem.load("osu29")


def neutral(network, rng, count):
    """Random states of twelve decades without a net charge."""
    y = 10 ** rng.uniform(-12, 0, (count, len(network.species)))
    charge, e = network.conserved[network.balanced.index("charge")], network.index("e")
    y[:, e] = 0.0
    y[:, e] = y @ charge
    return y


def off_by(y, dex, rng):
    return y * 10 ** (dex * rng.normal(size=y.shape))


def small(rng, dex):
    """A state of `SMALL`, and the totals of one that is `dex` away."""
    truth = rng.uniform(0.1, 1.0, 7)
    return jnp.asarray(off_by(truth, dex, rng)), jnp.asarray(SMALL @ truth)


@pytest.mark.parametrize("dex", [0.3, 3.0])
def test_random_states_of_a_network(osu29, dex):
    rng = np.random.default_rng(1)
    y0 = neutral(osu29, rng, 300)
    y, a = off_by(y0, dex, rng), osu29.conserved
    totals = y0 @ a.T
    totals[:, -1] = 0.0
    held = np.asarray(conserve(a, jnp.asarray(y), jnp.asarray(totals)))
    assert np.all(held > 0)
    np.testing.assert_allclose(held @ a[:-1].T, totals[:, :-1], rtol=1e-12)
    assert np.all(np.abs(held @ a[-1]) <= 1e-12 * held[:, osu29.index("e")])


def test_same_as_a_root_finder():
    y, totals = small(np.random.default_rng(2), 0.3)
    y, totals = np.asarray(y), np.asarray(totals)
    a, b = SMALL[:3], totals[:3]
    weights = (y / y.sum()) ** 0.125
    root = scipy.optimize.root(lambda m: a @ (y * np.exp(weights * (m @ a))) - b, np.zeros(3))
    assert root.success
    expected = y * np.exp(weights * (root.x @ a))
    np.testing.assert_allclose(conserve(SMALL, jnp.asarray(y), totals), expected, rtol=1e-9)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 12)),
    factor=st.floats(1.0, 3.0),
    decades=st.floats(0.0, 12.0),
)
@settings(max_examples=60)
def test_random_compositions(seed, shape, factor, decades):
    """Also with elements in fixed proportion, an element of no species, and one-sided charge."""
    rng = np.random.default_rng(seed)
    (elements, species) = shape
    a = np.zeros((6, 12))
    a[:elements, :species] = rng.integers(0, 4, shape)
    a[elements - 1, :species] = rng.integers(-1, 2, species)
    y = 10 ** -rng.uniform(0, decades, 12)
    y0 = y * factor ** rng.uniform(-1, 1, 12)
    held = jax.jit(conserve)(jnp.asarray(a), jnp.asarray(y), jnp.asarray(a @ y0))
    assert np.all(held > 0)
    drift = conservation_drift(jnp.asarray(a), held[None], jnp.asarray(y0))
    assert np.max(np.abs(drift)) <= 1e-12


@pytest.mark.parametrize("factor", [1 / 3, 3.0, 1e-6, 1e6])
def test_every_total_off_by_a_factor(factor):
    truth = np.array([1e-4, 1e-9, 1e-7, 1e-12, 0.3, 1e-5, 1e-5 + 1e-9 + 1e-12])
    totals = SMALL @ truth
    held = np.asarray(conserve(SMALL, jnp.asarray(factor * truth), jnp.asarray(totals)))
    np.testing.assert_allclose(SMALL[:2] @ held, totals[:2], rtol=1e-12)
    assert abs(SMALL[2] @ held - totals[2]) <= 1e-12 * held[-1]


def test_float32_stays_float32():
    rng = np.random.default_rng(3)
    y, totals = small(rng, 0.5)
    held = conserve(SMALL, y.astype(jnp.float32), totals)
    assert held.dtype == jnp.float32
    np.testing.assert_allclose(SMALL @ np.asarray(held, float), totals, atol=2e-6)
    # the totals to the rounding of float32, where the gas is as neutral as it can be told
    exact = conserve(SMALL, y, totals)
    np.testing.assert_allclose(held, exact, rtol=1e-5)


def test_conserved_states_are_left_alone(osu29):
    y = neutral(osu29, np.random.default_rng(4), 300)
    held = conserve(osu29.conserved, jnp.asarray(y), jnp.asarray(y @ osu29.conserved.T))
    np.testing.assert_allclose(held, y, rtol=1e-14)


def test_a_cell_without_carbon():
    y, totals = jnp.full(7, 0.5), jnp.array([0.0, 2.0, 0.0, 0.0])
    held = np.asarray(conserve(SMALL, y, totals))
    assert np.all(held[:4] == 0) and np.all(held[4:] > 0)
    np.testing.assert_allclose(SMALL @ held, totals, atol=1e-14)
    assert np.all(np.isfinite(np.concatenate(slopes(y, totals))))


def test_zero_and_negative_species():
    y = jnp.array([0.5, 0.0, -1e-9, 0.2, 0.5, 0.1, 0.4])
    held = np.asarray(conserve(SMALL, y, TOTALS))
    assert held[1] == held[2] == 0 and np.all(held[[0, 3, 4, 5, 6]] > 0)
    np.testing.assert_allclose(SMALL @ held, TOTALS, atol=1e-14)
    assert np.all(np.isfinite(np.concatenate(slopes(y, TOTALS))))


@pytest.mark.parametrize("y", [np.zeros(7), np.array([0, 0, 0, 0, 0.1, 0.1, 0.1])])
def test_totals_that_no_state_has_are_missed_without_nan(y):
    y = jnp.asarray(y)
    assert np.all(np.isfinite(conserve(SMALL, y, TOTALS)))
    assert np.all(np.isfinite(np.concatenate(slopes(y, TOTALS))))


def test_a_failed_state_stays_failed_and_spares_the_others():
    y, totals = small(np.random.default_rng(5), 0.1)
    held = conserve(SMALL, jnp.stack([y, jnp.full(7, jnp.nan), jnp.full(7, jnp.inf)]), totals)
    np.testing.assert_allclose(SMALL @ np.asarray(held[0]), totals, rtol=1e-13)
    assert not np.any(np.isfinite(held[1:]))


# Derivatives


def central(function, x, step):
    """Central differences of fourth order, each coordinate by a fraction of itself."""
    slopes = []
    for i, v in enumerate(np.asarray(x)):
        near, far = (
            (function(x.at[i].set(v + s)) - function(x.at[i].set(v - s))) / (2 * s)
            for s in (step * v, 2 * step * v)
        )
        slopes.append((4 * near - far) / 3)
    return np.stack(slopes)


@pytest.mark.parametrize("dex", [0.0, 0.3])
def test_derivatives_against_central_differences(dex):
    y, totals = small(np.random.default_rng(6), dex)
    by_y, by_totals = slopes(y, totals)
    np.testing.assert_allclose(by_y, central(lambda y: value(y, totals), y, 1e-3), atol=1e-9)
    numeric = central(lambda t: value(y, jnp.append(t, 0.0)), totals[:3], 1e-3)
    np.testing.assert_allclose(by_totals[:3], numeric, atol=1e-8)
    numeric = central(lambda y: slopes(y, totals)[0], y, 1e-3)
    np.testing.assert_allclose(curvature(y, totals)[0], numeric, atol=1e-8)


def test_gradient_of_a_network_state(osu29):
    """Along the logarithm, as a surrogate in log space is trained."""
    rng = np.random.default_rng(7)
    y0, a = neutral(osu29, rng, 1), osu29.conserved
    log_y = jnp.log(off_by(y0, 0.3, rng)[0])
    totals = jnp.asarray((y0 @ a.T)[0]).at[-1].set(0.0)

    @jax.jit
    def value(log_y):
        return jnp.mean(jnp.log(conserve(a, jnp.exp(log_y), totals)) ** 2)

    step = 1e-3 * np.eye(len(log_y))
    numeric = [(value(log_y + s) - value(log_y - s)) / 2e-3 for s in step]
    np.testing.assert_allclose(jax.grad(value)(log_y), numeric, atol=1e-5)


def test_under_jit_and_vmap():
    rng = np.random.default_rng(8)
    y = jnp.asarray(rng.uniform(0.1, 1.0, (2, 3, 7)))
    totals = jnp.asarray(rng.uniform(0.1, 1.0, (2, 1, 7)) @ SMALL.T)
    one = [[conserve(SMALL, v, totals[i, 0]) for v in row] for i, row in enumerate(y)]
    inner = jax.vmap(jax.jit(lambda v, t: conserve(SMALL, v, t)), (0, None))
    for held in (conserve(SMALL, y, totals), jax.vmap(inner)(y, totals[:, 0])):
        np.testing.assert_allclose(held, np.array(one), rtol=1e-13)
    assert conserve(SMALL, y[:0], totals[:0]).shape == (0, 3, 7)


# The wrapped model


class Guess(AbstractEmulator):
    """A bad emulator: each species by a power law of its own."""

    slope: jax.Array
    about: About = eqx.field(static=True)

    def predict(self, y0, conditions, ts):
        return y0[None] * conditions[0] * (1 + ts)[:, None] ** self.slope[None]


def guess(network, slope):
    return Guess(slope, About(network.species, ("speed",)))


def test_a_wrapped_model_conserves(osu29):
    rng = np.random.default_rng(9)
    plain = guess(osu29, jnp.asarray(0.5 * rng.normal(size=29)))
    model, y0 = conserved(plain, osu29), jnp.asarray(neutral(osu29, rng, 4))
    ts, conditions = jnp.array([0.0, 1.0, 10.0]), {"speed": jnp.asarray(1.2)}
    ys = eqx.filter_jit(jax.vmap(lambda y: model(y, conditions, ts)))(y0)
    assert ys.shape == (4, 3, 29) and np.all(ys > 0)
    assert np.max(np.abs(conservation_drift(osu29.conserved, ys, y0))) <= 1e-12
    np.testing.assert_allclose(ys[0], model(y0[0], conditions, ts), rtol=1e-12)


def test_a_gas_that_recombines_stays_neutral(osu29):
    """The rounding of the initial charge is above the charges that are left."""
    y0 = jnp.asarray(neutral(osu29, np.random.default_rng(10), 1)[0])
    charge = osu29.conserved[-1]
    few = jnp.asarray(np.where(charge == 0, 1.0, 1e-18 / np.asarray(y0)))
    plain = Function(lambda y0, c, ts: jnp.tile(y0 * few, (3, 1)), About(osu29.species))
    ys = conserved(plain, osu29)(y0, {}, jnp.ones(3))
    assert np.abs(ys[0] @ charge) <= 1e-12 * ys[0, osu29.index("e")]


def test_a_temperature_is_no_species(osu29):
    """It stays as predicted and has no part in the sums; species stand where they like."""
    y0 = neutral(osu29, np.random.default_rng(12), 1)[0]
    names = ("temperature", *reversed(osu29.species))
    plain = Function(lambda y0, c, ts: jnp.tile(1.3 * y0, (2, 1)), About(names))
    state = jnp.asarray(np.concatenate([[1e4], y0[::-1]]))
    ys = conserved(plain, osu29)(state, {}, jnp.ones(2))
    np.testing.assert_allclose(ys[:, 0], 1.3e4)
    alone = conserve(osu29.conserved, jnp.asarray(1.3 * y0), jnp.asarray(osu29.conserved @ y0))
    np.testing.assert_allclose(ys[0, 1:], alone[::-1], rtol=1e-9)
    with pytest.raises(ValueError, match=f"species '{osu29.species[0]}', which the model does not"):
        conserved(Function(lambda *_: None, About(osu29.species[1:])), osu29)


def test_only_the_parameters_of_the_inner_model_are_trained(osu29):
    plain = guess(osu29, jnp.linspace(-1.0, 1.0, 29))
    model = conserved(plain, osu29)
    assert isinstance(model, Conserved) and isinstance(model.composition, np.ndarray)
    (leaf,) = jax.tree.leaves(eqx.filter(model, trainable))
    assert leaf is plain.slope
    y0 = jnp.asarray(neutral(osu29, np.random.default_rng(11), 1)[0])
    ts, conditions = jnp.array([0.5, 2.0, 9.0]), {"speed": jnp.ones(())}

    @eqx.filter_jit
    def loss(model):
        return jnp.mean(jnp.log(model(y0, conditions, ts)) ** 2)

    slope = eqx.filter_grad(loss)(model).inner.slope
    moved = [loss(eqx.tree_at(lambda m: m.inner.slope, model, leaf + h)) for h in (1e-4, -1e-4)]
    np.testing.assert_allclose(jnp.sum(slope), (moved[0] - moved[1]) / 2e-4, rtol=1e-5)


# Errors


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"composition \(4, 7\) does not fit states \(2, 6\)"):
        conserve(SMALL, jnp.ones((2, 6)), jnp.ones(4))
    with pytest.raises(ValueError, match=r"composition \(7,\) does not fit"):
        conserve(SMALL[0], jnp.ones(7), jnp.ones(1))
    with pytest.raises(ValueError, match=r"totals \(2,\) do not fit composition \(4, 7\)"):
        conserve(SMALL, jnp.ones(7), jnp.ones(2))


@pytest.mark.parametrize("off", [1e-6, 1e-3, 0.1])
def test_reservoirs_make_up_for_what_is_off(osu29, off):
    """By the least change over y, which NumPy's pseudoinverse gives too."""
    rng = np.random.default_rng(2)
    a = np.asarray(osu29.conserved)[:-1]  # elements; a small excess of charge may be all there is
    truth = 10 ** rng.uniform(-12, 0, (50, len(osu29.species)))
    y = truth * np.exp(off * rng.uniform(-1, 1, truth.shape))
    totals = truth @ a.T
    found = np.asarray(settle(a, jnp.asarray(y), jnp.asarray(totals)))
    for row, state, wanted in zip(found, y, totals, strict=True):
        change = np.linalg.pinv(a * state) @ (wanted - a @ state)
        np.testing.assert_allclose(row / state, 1 + change, rtol=1e-8)
    np.testing.assert_allclose(found @ a.T, totals, rtol=1e-12)
    trace = y < 1e-6 * y.max(axis=1, keepdims=True)
    assert np.abs(found / y - 1)[trace].max() < 0.1 * off


def test_what_is_far_off_is_not_settled():
    y = jnp.array([[1.0, 1.0, 0.0], [np.nan, 1.0, 1.0], [1.0, 1.0, 1.0]])
    found = settle(np.array([[1.0, 1.0, 2.0]]), y, jnp.array([[0.5], [2.0], [4.4]]))
    np.testing.assert_array_equal(found[:2], y[:2])
    np.testing.assert_allclose(found[2], 1 + 0.4 / 6 * np.array([1, 1, 2]))


def test_a_model_settled_by_its_reservoirs(osu29):
    rng = np.random.default_rng(3)
    y0 = jnp.asarray(neutral(osu29, rng, 1)[0])
    off = jnp.asarray(np.exp(1e-3 * rng.normal(size=(5, len(y0)))))
    about = About(osu29.species)
    model = conserved(Function(lambda y0, c, ts: y0[None] * off, about), osu29, reservoirs=True)
    ys = model(y0, None, jnp.zeros(5))
    drift = conservation_drift(jnp.asarray(osu29.conserved), ys[None], y0[None])
    assert float(jnp.abs(drift).max()) < 1e-12
    np.testing.assert_allclose(ys, np.tile(y0, (5, 1)), rtol=0.02)


def test_what_a_stage_can_ask_for(osu29):
    """The same of every stage that has the setting."""
    model = Function(lambda y0, c, ts: y0[None], About(osu29.species))
    assert conserving(False) == ()
    for setting in (True, "reservoirs"):
        (wrapper,) = conserving(setting)
        assert wrapper(model, osu29).reservoirs == (setting == "reservoirs")
    with pytest.raises(ValueError, match="conserve='all': write true, false or reservoirs"):
        conserving("all")


def test_a_network_that_does_not_conserve(osu29):
    units, plain = osu29.units, Function(lambda *_: jnp.ones((1, 2)), About(("CO", "X")))

    def network(species, balanced=None):
        burn = jaxchem.network.Reaction({"CO": 1}, {"X": 1}, "arrhenius(1.0, 0.0)", "test")
        return jaxchem.Network.build(
            name="leaky", species=species, reactions=[burn], units=units, balanced=balanced
        )

    with pytest.raises(ValueError, match=r"'leaky' do not conserve C, O; name in `balanced`"):
        conserved(plain, network({"CO": {"C": 1, "O": 1}, "X": None}))
    with pytest.raises(ValueError, match="do not conserve any element"):
        conserved(plain, network({"CO": None, "X": None}))
