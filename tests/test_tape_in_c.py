"""Tapes in the compiled interpreter: as in NumPy, for every width, and how exact it is."""

import ctypes
import platform
import re
import shutil
import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tape_cases import (
    ARRAYS,
    HOURS,
    INF,
    NAN,
    ONE,
    PROBLEMS,
    TWO,
    VALUES,
    agree,
    opcodes,
    problem,
    tape_of,
)

from jaxchem.solvers import tape as tapes
from jaxchem.solvers.lowering import lower
from jaxchem.solvers.tape import STEP, Op, run

KERNEL = Path(tapes.__file__).with_name("kernel")
COMPILER = shutil.which("cc")
CALL = """
#include "lanes.h"
#define CELLS (MANY ? LANES : 1)
#define DIRECTIONS (MANY ? 1 : LANES)
#include "element.h"
#include "tape.h"
int cells(void) { return CELLS; }
void call(const int32_t *code, int64_t length, double *slots, const double *table) {
  run_tape(code, length, (el *)slots, table);
}
"""
BUILDS = {  # architecture, whether of many cells
    "one": ("native", 0),
    "two": ("x86-64", 1),
    "four": ("haswell", 1),
    "eight": ("native", 1),
}


def runs_here(architecture):
    """Whether this machine has that instruction set."""
    information = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not information.exists():
        return False
    return architecture == "x86-64" or "avx2" in information.read_text()


@pytest.fixture(scope="module", params=BUILDS)
def interpret(request, tmp_path_factory):
    """`f(tape, inputs)` with a last axis of cells, in C."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    (architecture, many), folder = BUILDS[request.param], tmp_path_factory.mktemp("tape")
    if architecture != "native" and not runs_here(architecture):
        pytest.skip(f"not a {architecture}")
    (folder / "call.c").write_text(CALL)
    subprocess.run(
        [
            *(COMPILER, "-O3", f"-march={architecture}", "-fno-math-errno", "-fno-trapping-math"),
            *("-ffp-contract=off", "-Wall", "-Wextra", "-Wno-psabi", "-Werror", "-shared"),
            *("-fPIC", f"-I{KERNEL}", f"-DMANY={many}", "call.c", "-o", "call.so", "-lm"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    library = ctypes.CDLL(str(folder / "call.so"))
    cells = library.cells()

    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)

    def call(code, slots, table):
        library.call(pointer(code), ctypes.c_int64(len(code)), pointer(slots), pointer(table))

    def aligned(size):
        raw = np.zeros(size * cells + 8)
        start = -raw.ctypes.data // 8 % 8
        return raw[start : start + size * cells].reshape(size, cells)

    def interpret(tape, inputs):
        width = np.shape(inputs[0])[-1]
        columns = []
        for start in range(0, width, cells):
            at = np.minimum(np.arange(start, start + cells), width - 1)
            slots = aligned(tape.slots)
            slots[: len(tape.constants)] = tape.constants[:, None]
            for first, x in zip(tape.inputs, inputs, strict=True):
                flat = np.asarray(x, float).reshape(-1, width)[:, at]
                slots[first : first + len(flat)] = flat
            for code in (tape.cell, *tape.groups):
                call(code, slots, tape.table)
            columns.append(slots[:, : min(cells, width - start)])
        slots = np.concatenate(columns, axis=1)
        return tuple(tuple(slots[output] for output in group) for group in tape.outputs)

    def each(op, *operands):
        """One opcode on long arrays."""
        n = len(operands[0]) // cells
        slots = aligned((len(operands) + 1) * n)
        for k, x in enumerate(operands):
            slots[k * n : (k + 1) * n] = x[: n * cells].reshape(n, cells)
        at = np.arange(n)
        columns = [at + k * n for k in range(len(operands))]
        block = np.stack([*(columns + columns[:1] * 2)[:3], at + len(operands) * n], axis=1)
        call(np.array([op, n, *block.ravel()], np.int32), slots, np.zeros(1))
        return slots[len(operands) * n :].ravel()

    interpret.each = each
    interpret.cells = cells
    return interpret


def test_opcodes_have_the_same_numbers_in_c():
    names = re.search(r"enum \{(.*?)\}", (KERNEL / "tape.h").read_text(), re.DOTALL)
    assert names is not None
    assert re.findall(r"OP_(\w+)", names[1]) == [op.name for op in Op]


def test_all_opcodes_in_c(interpret):
    """Every primitive, with the edge cases."""
    pieces = [
        *((f, [v]) for f, v in ONE.values()),
        *(
            (f, [np.array([-3.5, 0.0, 0.4, INF, NAN]), np.full(5, y)])
            for f in TWO.values()
            for y in (-1.0, 2.5)
        ),
        *((f, list(v)) for name, (f, *v) in ARRAYS.items() if name.startswith("computed")),
        (lambda t: jnp.interp(t, HOURS, VALUES), [np.array([-1.0, 2.9, 3.0, 12.1, 30.0])]),
    ]

    shapes = [np.shape(a) for _, arrays in pieces for a in arrays]

    def whole(*inputs):
        left = iter(inputs)
        return tuple((jnp.asarray(f(*(next(left) for _ in v))),) for f, v in pieces)

    tape = lower(whole, [(shape, STEP) for shape in shapes])
    spread = [
        np.stack([a * (1 + 0.01 * k) for k in range(interpret.cells + 1)], axis=-1)
        for _, arrays in pieces
        for a in arrays
    ]
    expected = run(tape, spread, batched=True)
    for (a,), (b,) in zip(interpret(tape, spread), expected, strict=True):
        truths = np.isin(b.view(np.int64), [0, -1]).all()
        if truths:
            np.testing.assert_array_equal(a.view(np.int64), b.view(np.int64))
        else:
            # what is subnormal may be zero
            np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-307)
    used = {op for code in tape.groups for op in opcodes(code)}
    assert set(Op) - used <= {Op.ERFC, Op.FMA}


@pytest.mark.parametrize("name", PROBLEMS)
def test_networks_in_c(interpret, name):
    _, values, _ = problem(name)
    tape = tape_of(name)
    spread = [
        np.stack([v * (1 + 0.01 * k) for k in range(interpret.cells)], axis=-1) for v in values
    ]
    agree(interpret(tape, spread), run(tape, spread, batched=True), rtol=1e-12)


def ulps(found, function, *arguments):
    """Error beside long doubles, in units of the last place."""
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("no long double to compare with")
    exact = function(*(x.astype(np.longdouble) for x in arguments))
    near = exact.astype(float)
    kept = np.isfinite(near) & (np.abs(near) > 2.3e-308)
    error = np.abs(found[kept] - exact[kept]) / np.spacing(np.abs(near[kept]))
    return float(error.max())


N = 100_000


@pytest.mark.parametrize(
    "op, function, spans, limit",
    [
        (Op.EXP, np.exp, [(-708, 709.7)], 1),
        (Op.EXP, np.exp, [(-1, 1)], 1),
        (Op.LOG, lambda x: np.log(x), [(0.3, 3)], 1),
        (Op.SIN, np.sin, [(-10, 10)], 2.5),
        (Op.COS, np.cos, [(-10, 10)], 2.5),
        (Op.SIN, np.sin, [(-1e5, 1e5)], 2.5),
        (Op.TANH, np.tanh, [(-3, 3)], 2.5),
        (Op.POW, np.power, [(1e-4, 10), (-10, 10)], 4),
        (Op.POW, np.power, [(1, 1e6), (-10, 10)], 4),
    ],
)
def test_accuracy_in_c(interpret, op, function, spans, limit):
    random = np.random.default_rng(1)
    arguments = [random.uniform(*span, N) for span in spans]
    assert ulps(interpret.each(op, *arguments), function, *arguments) <= limit


def test_log_over_all_magnitudes_in_c(interpret):
    x = 10 ** np.random.default_rng(2).uniform(-307, 308, N)
    assert ulps(interpret.each(Op.LOG, x), np.log, x) <= 1


@pytest.mark.parametrize(
    "op, function",
    [
        *((Op.EXP, np.exp), (Op.LOG, np.log), (Op.SIN, np.sin), (Op.COS, np.cos)),
        *((Op.TANH, np.tanh), (Op.SQRT, np.sqrt), (Op.FLOOR, np.floor), (Op.ROUND, np.rint)),
    ],
)
def test_ends_in_c(interpret, op, function):
    x = np.array(
        [
            0.0,
            -0.0,
            INF,
            -INF,
            NAN,
            5e-324,
            1e-310,
            -1.0,
            0.5,
            2.5,
            709.78,
            710,
            -708,
            -750,
            1e5,
            1e300,
        ]
    )
    with np.errstate(all="ignore"):
        expected = function(x)
    np.testing.assert_allclose(interpret.each(op, x), expected, rtol=1e-15, atol=1e-307)


def test_ends_of_powers_in_c(interpret):
    base = np.array(
        [0.0, 0.0, -2.0, -2.0, INF, NAN, 1.0, 2.0, 1e300, 0.5, 2.0, 10.0, 0.1, 1.0, -INF, 0]
    )
    power = np.array(
        [2.0, -1.0, 3, 0.5, -1.0, 0, NAN, 1075, 2, 1e10, -1000, -300, 320, INF, 3.0, 0]
    )
    with np.errstate(all="ignore"):
        expected = np.power(base, power)
    np.testing.assert_allclose(
        interpret.each(Op.POW, base, power), expected, rtol=1e-14, atol=1e-307
    )
