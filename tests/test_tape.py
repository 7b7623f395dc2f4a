"""What is in a tape: no instruction twice or for nothing, levels, groups, and dependence."""

import jax
import jax.numpy as jnp
import numpy as np
from tape_cases import lowered, opcodes

import jaxchem
from jaxchem.solvers import tape as tapes
from jaxchem.solvers.lowering import lower
from jaxchem.solvers.tape import CELL, STEP, Op, dependence, run, zeros


def count(code):
    """Instructions in a section."""
    return sum(len(block) for _, block in tapes._runs(code))


# What is simplified


def test_constants_fold_and_nothing_is_computed_twice():
    def function(x):
        unused = jnp.tan(x)
        a = jnp.exp(x) * 1.0 + 0.0
        b = jnp.exp(x) - 0.0 * unused
        return a, b, jnp.exp(jnp.log(2.0)) * jnp.ones(3), x / 1.0, -jnp.negative(x), x / 4.0

    tape = lower(lambda x: (function(x),), [((), STEP)])
    a, b, two, *same, quarter = (int(s.ravel()[0]) for s in tape.outputs[0])
    assert a == b
    assert same == [tape.inputs[0]] * 2
    assert two < len(tape.constants)
    assert tape.levels[two] == 0
    assert tape.levels[quarter] == STEP
    assert sorted(opcodes(tape.groups[0])) == [Op.MUL, Op.EXP]


def test_zero_times_anything_is_zero():
    tape = lowered(lambda x: 0.0 * jnp.exp(x) + jnp.zeros(()) / x + jnp.array(-0.0) / x, 0.0)
    assert not tape.groups[0].size
    assert run(tape, [np.inf])[0][0] == 0


def test_products_join_sums():
    assert opcodes(lowered(lambda x, y: x * y + x, 1.0, 1.0).groups[0]) == [Op.FMA]
    tape = lower(lambda x, y: ((x * y + x, x * y),), [((), STEP), ((), STEP)])
    assert sorted(opcodes(tape.groups[0])) == [Op.ADD, Op.MUL]


def test_runs_are_long():
    """Of one opcode in a row, however the function interleaves them."""

    def function(x):
        return jnp.stack([jnp.exp(x[i]) * x[i] for i in range(20)])

    tape = lowered(function, np.ones(20))
    assert [(op, len(block)) for op, block in tapes._runs(tape.groups[0])] == [
        (Op.EXP, 20),
        (Op.MUL, 20),
    ]


# Levels and groups


def test_levels():
    """What depends on a cell alone runs once a cell; a product of both levels is no FMA's part."""

    def function(t, p):
        constant = jnp.exp(p[0]) * p[1]
        return (constant * t, p[0] * p[1] + t, jnp.full((), 3.0), p), (constant * t + 1.0,)

    tape = lower(function, [((), STEP), ((2,), CELL)])
    assert sorted(opcodes(tape.cell)) == [Op.MUL, Op.EXP]
    assert count(tape.cell) == 3
    assert count(tape.groups[0]) == 2
    assert count(tape.groups[1]) == 1
    levels = [tape.levels[s].tolist() for s in tape.outputs[0]]
    assert levels == [STEP, STEP, 0, [CELL, CELL]]
    assert tape.inputs == (len(tape.constants), len(tape.constants) + 1)
    values = 0.7, np.array([0.3, 2.0])
    for found, expected in zip(run(tape, values), function(*values), strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)


def test_groups_leave_out_what_is_there():
    def function(x):
        return (jnp.sin(x),), (jnp.sin(x) + 1.0,), (jnp.sin(x) + 1.0, jnp.sin(x))

    tape = lower(function, [((), STEP)])
    assert [count(code) for code in tape.groups] == [1, 1, 0]


def test_cells_at_once():
    x = np.linspace(0, 1, 12).reshape(3, 4)
    tape = lowered(lambda x: jnp.exp(x) @ jnp.arange(3.0), np.ones(3))
    ((found,),) = run(tape, [x], batched=True)
    np.testing.assert_allclose(found, np.arange(3) @ np.exp(x), rtol=1e-15)


# Dependence


def test_dependence():
    def function(t, p, y):
        k = jnp.stack(
            [jnp.exp(p), t * p, y[0] * t, 0.0 * y[1], y[1] + y[2] * jnp.where(t > 0, 1, 2)]
        )
        return (k,), (y[::-1].reshape(3, 1),)

    tape = lower(function, [((), STEP), ((), CELL), ((3,), STEP)])
    (k,), (y,) = dependence(tape)
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]]
    np.testing.assert_array_equal(k, np.array(expected, bool))
    np.testing.assert_array_equal(y[:, 0], np.eye(4, dtype=bool)[:0:-1])


def test_dependence_is_the_pattern_of_the_jacobian():
    network = jaxchem.load("osu29")
    k = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
    tape = lowered(lambda y: jaxchem.tendency(network, k, y), np.ones(len(network.species)))
    np.testing.assert_array_equal(dependence(tape)[0][0], network.pattern())
    tape = lowered(jax.jacfwd(lambda y: jaxchem.tendency(network, k, y)), np.ones(29))
    np.testing.assert_array_equal(zeros(tape)[0][0], ~network.pattern())


def test_dependence_without_inputs():
    tape = lowered(lambda p: p * jnp.ones(3), 1.0, level=CELL)
    assert dependence(tape)[0][0].shape == (3, 0)
