"""Trivial emulators, against fields that they must reproduce and against brute force."""

import numpy as np
import pytest

from jaxchem import baselines
from jaxchem.baselines import (
    BASELINES,
    chebyshev,
    gaussian_process,
    linear,
    nearest_neighbour,
    train_mean,
)

RNG = np.random.default_rng(5)
TRAIN = RNG.uniform([-2, 3, -17], [0, 7, -15], (60, 3))
TEST = RNG.uniform([-1.9, 3.1, -16.9], [-0.1, 6.9, -15.1], (20, 3))


def smooth(inputs):
    """Fields [N, 4, 2] of inputs [N, 3], which they vary with on the scale of the box."""
    x, y, z = (inputs - [-1, 5, -16]).T
    values = [np.sin(x + 0.3 * y), np.exp(0.3 * z), x * y * z, np.full(len(x), 4.0)]
    return np.stack([np.stack(values, axis=1), np.stack(values[::-1], axis=1) - 10], axis=2)


def cubic(inputs):
    x, y, z = (inputs - [-1, 5, -16]).T
    return np.stack([x**3 - y * z, 2 + x * y * z, y**2 * z + 1, z], axis=1).reshape(-1, 2, 2)


FIELDS = smooth(TRAIN)


@pytest.mark.parametrize("name", BASELINES)
def test_shapes_and_single_precision(name):
    for fields in (FIELDS, FIELDS[:, 0, 0], FIELDS.astype(np.float32)):
        found = BASELINES[name](TRAIN, fields, TEST)
        assert found.shape == (20, *fields.shape[1:])
        assert found.dtype == np.float64
        assert np.all(np.isfinite(found))


def test_train_mean():
    found = train_mean(TRAIN, FIELDS, TEST)
    for row in found:
        np.testing.assert_allclose(row, FIELDS.mean(axis=0), rtol=1e-14)


def test_nearest_neighbour_is_that_of_standardised_inputs():
    scale = TRAIN.std(axis=0)
    distances = [[np.sum(((a - b) / scale) ** 2) for b in TRAIN] for a in TEST]
    nearest = np.argmin(distances, axis=1)
    np.testing.assert_array_equal(nearest_neighbour(TRAIN, FIELDS, TEST), FIELDS[nearest])
    # the unit of an input has no say
    units = np.array([1e6, 1.0, 1e-6])
    np.testing.assert_array_equal(
        nearest_neighbour(TRAIN * units, FIELDS, TEST * units), FIELDS[nearest]
    )
    np.testing.assert_array_equal(nearest_neighbour(TRAIN, FIELDS, TRAIN), FIELDS)
    with pytest.raises(ValueError, match="not finite have no nearest neighbour"):
        nearest_neighbour(TRAIN, FIELDS, np.full_like(TEST, np.nan))


def test_planes_are_reproduced():
    """And of what is none, the residual is normal to the inputs and a constant."""

    def plane(inputs):
        return np.stack([inputs @ [2.0, -3.0, 0.5] + 7, inputs[:, 1]], axis=1)[:, :, None]

    np.testing.assert_allclose(linear(TRAIN, plane(TRAIN), TEST), plane(TEST), rtol=1e-11)
    rest = (FIELDS - linear(TRAIN, FIELDS, TRAIN)).reshape(60, -1)
    np.testing.assert_allclose(np.append(TRAIN, np.ones((60, 1)), 1).T @ rest, 0, atol=1e-8)


class Kept:
    """Fields that are told some at a time."""

    def __init__(self, fields):
        self.fields, self.shape, self.most = fields, fields.shape, 0

    def __getitem__(self, cases):
        found = self.fields[cases]
        self.most = max(self.most, len(found))
        return found


def test_fields_are_asked_for_in_parts():
    rng = np.random.default_rng(2)
    inputs, asked = rng.normal(size=(1300, 3)), rng.normal(size=(5, 3))
    fields = rng.normal(size=(1300, 2, 2)) + inputs[:, :2, None]
    terms = np.column_stack([inputs, np.ones(1300)])
    slopes = np.linalg.lstsq(terms, fields.reshape(1300, 4), rcond=None)[0]
    plane = (np.column_stack([asked, np.ones(5)]) @ slopes).reshape(5, 2, 2)
    scale = inputs.std(axis=0)
    nearest = [np.argmin(np.sum(((one - inputs) / scale) ** 2, axis=1)) for one in asked]
    for baseline, wanted in (
        (train_mean, np.tile(fields.mean(axis=0), (5, 1, 1))),
        (linear, plane),
        (nearest_neighbour, fields[nearest]),
    ):
        kept = Kept(fields)
        np.testing.assert_allclose(baseline(inputs, kept, asked), wanted, rtol=1e-10)
        assert 0 < kept.most < 1300


@pytest.mark.parametrize("degree", [3, 4])
def test_polynomials_are_reproduced(degree):
    """A total degree of three has 20 terms in three inputs, of four 35."""
    found = chebyshev(TRAIN, cubic(TRAIN), TEST, degree=degree)
    np.testing.assert_allclose(found, cubic(TEST), atol=1e-11)
    assert np.max(np.abs(chebyshev(TRAIN, cubic(TRAIN), TEST, degree=2) - cubic(TEST))) > 0.1


def test_the_degree_is_found_on_the_training_set():
    """Noise makes a degree above the true one worse, too few terms make a lower one worse."""
    rng = np.random.default_rng(1)
    found = chebyshev(TRAIN, cubic(TRAIN), TEST)
    np.testing.assert_allclose(found, cubic(TEST), atol=1e-11)
    inputs = rng.uniform(-1, 1, (60, 2))
    fields = inputs[:, :1] ** 2 + 0.1 * rng.normal(size=(60, 30))
    np.testing.assert_array_equal(
        chebyshev(inputs, fields, inputs), chebyshev(inputs, fields, inputs, degree=2)
    )


def test_a_degree_that_is_found_has_two_trajectories_a_term():
    inputs, fields = TRAIN[:30], cubic(TRAIN[:30])  # of degree 3, with 20 terms
    np.testing.assert_array_equal(
        chebyshev(inputs, fields, TEST), chebyshev(inputs, fields, TEST, degree=2)
    )


def test_the_degree_is_that_of_fits_without_each_trajectory():
    """The error at a trajectory that is left out needs no second fit, but must agree with one."""
    rng = np.random.default_rng(1)
    inputs = TRAIN[:24, :2]
    fields = np.sin(1.5 * inputs) + 0.02 * rng.normal(size=inputs.shape)
    errors = []
    # two trajectories a term allow degree 3; the box stays that of all of them
    for degree in range(4):
        low, high = inputs.min(axis=0), inputs.max(axis=0)
        terms = baselines._polynomials(2 * (inputs - low) / (high - low) - 1, degree)
        left_out = []
        for i in range(24):
            seen = np.arange(24) != i
            coefficients = np.linalg.lstsq(terms[seen], fields[seen], rcond=None)[0]
            left_out.append(terms[i] @ coefficients - fields[i])
        errors.append(np.mean(np.square(left_out)))
    np.testing.assert_allclose(
        chebyshev(inputs, fields, TEST[:, :2]),
        chebyshev(inputs, fields, TEST[:, :2], degree=int(np.argmin(errors))),
        rtol=1e-12,
    )


def test_terms_are_products_of_chebyshev_polynomials():
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (7, 2))
    angle = np.arccos(inputs)
    expected = {
        (i, j): np.cos(i * angle[:, 0]) * np.cos(j * angle[:, 1])
        for i in range(4)
        for j in range(4 - i)
    }
    terms = baselines._polynomials(inputs, 3)
    assert terms.shape == (7, len(expected)) == (7, 10)
    for term in expected.values():
        assert np.min(np.max(np.abs(terms - term[:, None]), axis=0)) < 1e-14


def test_more_terms_than_trajectories_are_refused():
    with pytest.raises(ValueError, match=r"degree 6 in 3 inputs has 84 terms.* 60 trajectories"):
        chebyshev(TRAIN, FIELDS, TEST, degree=6)


def test_gaussian_process_interpolates():
    # the nugget shows where the length is long
    np.testing.assert_allclose(gaussian_process(TRAIN, FIELDS, TRAIN), FIELDS, atol=1e-2)
    exact = gaussian_process(TRAIN, FIELDS, TRAIN, length=1.0)
    np.testing.assert_allclose(exact, FIELDS, atol=1e-6)
    found = gaussian_process(TRAIN, FIELDS, TEST)
    np.testing.assert_allclose(found, smooth(TEST), atol=0.05)
    np.testing.assert_allclose(found[:, 3, 0], 4.0, rtol=1e-14)  # what never changes
    mean = train_mean(TRAIN, FIELDS, TEST)
    assert np.std(found - smooth(TEST)) < 0.03 * np.std(mean - smooth(TEST))


def test_gaussian_process_is_the_textbook_formula():
    scale = TRAIN.std(axis=0)

    def kernel(a, b):
        return np.exp(-np.sum(((a[:, None] - b) / scale) ** 2, axis=2) / (2 * 1.5**2))

    fields = FIELDS.reshape(60, -1)
    mean = fields.mean(axis=0)
    weights = np.linalg.solve(kernel(TRAIN, TRAIN) + 1e-3 * np.eye(60), fields - mean)
    np.testing.assert_allclose(
        gaussian_process(TRAIN, fields, TEST, length=1.5, nugget=1e-3),
        mean + kernel(TEST, TRAIN) @ weights,
        rtol=1e-10,
    )


@pytest.mark.parametrize("length", [0.5, 2.0])
def test_the_length_of_a_draw_is_found(length):
    """Fields drawn with a length are most likely at it."""
    rng = np.random.default_rng(1)
    inputs = (TRAIN - TRAIN.mean(axis=0)) / TRAIN.std(axis=0)
    distances = np.sum((inputs[:, None] - inputs) ** 2, axis=2)
    kernel = np.exp(-distances / (2 * length**2)) + 1e-8 * np.eye(60)
    fields = np.linalg.cholesky(kernel) @ rng.normal(size=(60, 200))
    np.testing.assert_allclose(
        gaussian_process(TRAIN, fields, TEST),
        gaussian_process(TRAIN, fields, TEST, length=length),
        rtol=1e-6,
        atol=1e-8,
    )


def test_fields_that_are_all_alike_are_given_back():
    found = gaussian_process(TRAIN, np.ones((60, 5)), TEST)
    np.testing.assert_allclose(found, 1.0, rtol=1e-14)
    np.testing.assert_allclose(chebyshev(TRAIN, np.ones((60, 5)), TEST), 1.0, rtol=1e-12)


def test_too_many_trajectories_for_a_gaussian_process_are_refused():
    rng = np.random.default_rng(1)
    inputs = rng.uniform(size=(5001, 2))
    with pytest.raises(ValueError, match=r"5001 trajectories are too many .*\(at most 5000\)"):
        gaussian_process(inputs, inputs, inputs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", BASELINES)
def test_inputs_that_carry_nothing_new_change_nothing(name, dtype):
    """A constant, a copy in another unit and a sum, of inputs in either precision."""

    def more(inputs):
        x, y, z = inputs.T
        return np.column_stack([inputs, np.full_like(x, 0.1), 3 - 2 * y, x + y - z / 2])

    train, test = TRAIN.astype(dtype), TEST.astype(dtype)
    assert more(train).dtype == dtype
    np.testing.assert_array_equal(
        BASELINES[name](more(train), FIELDS, more(test)), BASELINES[name](train, FIELDS, test)
    )


@pytest.mark.parametrize("name", ["chebyshev", "gaussian_process"])
def test_an_input_that_is_a_curved_function_of_others_does_no_harm(name):
    """The oxygen of a fixed ratio to all carbon: its logarithm is no linear combination."""
    rng = np.random.default_rng(1)

    def oxygen(logs):
        return np.column_stack([logs, np.log10(4 * np.sum(10**logs, axis=1))])

    train, test = rng.uniform(-2, 0, (300, 2)), rng.uniform(-1.9, -0.1, (30, 2))
    fields, truth = (np.sin(x[:, :1] + x[:, 1:] / 2) for x in (train, test))
    assert baselines._standardised(oxygen(train), oxygen(test))[0].shape == (300, 3)
    found = BASELINES[name](oxygen(train), fields, oxygen(test))
    np.testing.assert_allclose(found, truth, atol=1e-5)


def test_terms_that_such_an_input_makes_dependent_do_not_amplify_noise():
    rng = np.random.default_rng(1)
    train, test = rng.uniform(-2, 0, (130, 2)), rng.uniform(-1.9, -0.1, (200, 2))
    train, test = (np.column_stack([x, np.log10(np.sum(10**x, axis=1))]) for x in (train, test))
    noise = 1e-3 * rng.normal(size=(130, 20))
    # 120 terms, of which about 70 differ on the surface
    assert np.std(chebyshev(train, noise, test, degree=7)) < 0.1


@pytest.mark.parametrize("name", ["nearest_neighbour", "linear", "chebyshev", "gaussian_process"])
def test_inputs_that_never_vary_are_refused(name):
    """A tenth has a mean that differs from it by round-off."""
    with pytest.raises(ValueError, match="None of the 2 inputs varies"):
        BASELINES[name](np.full((60, 2), 0.1), FIELDS, np.full((20, 2), 0.1))
