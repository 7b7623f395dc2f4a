"""Out of Python: networks and emulators as C and Fortran, and artefacts of jax.export."""

import ctypes
import json
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import clouds
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem import models
from jaxchem.__main__ import main
from jaxchem.dataset import observe
from jaxchem.ensemble import generate_ensemble
from jaxchem.hosts import kernel
from jaxchem.hosts.c_program import LANES, NotWrittenError, program
from jaxchem.hosts.c_text import Constants, identifier, number
from jaxchem.parse import table
from jaxchem.solvers import native

COMPILER, FORTRAN = shutil.which("cc"), shutil.which("gfortran")
needs_compiler = pytest.mark.skipif(
    COMPILER is None or not native.available(), reason="there is no C compiler"
)
# the levels of optimisation have the same bits, and the lowest is compiled soonest
BITS = ["-O0", *(flag for flag in kernel.FLAGS if not flag.startswith("-O"))]
PLAIN = ["-O0", "-ffp-contract=off"]
CASES = {  # conditions, their range, start, dt, the scale below which nothing counts
    "robertson": ((), (), (), {"A": 1.0}, 1e4, 1e-12),
    "pollu": (
        *((), (), ()),
        {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007},
        *(60.0, 1e-12),
    ),
    "mcm_methane": (
        ("temperature", "pressure", "relative_humidity", "solar_zenith_angle"),
        (240.0, 5e4, 0.1, 0.0),
        (300.0, 1e5, 0.9, 1.4),
        *(None, 600.0, 1.0),
    ),
    "osu29": (
        ("temperature", "cosmic_ray_rate"),
        (10.0, 1e-17),
        (100.0, 1e-15),
        {"H2": 1e4, "C": 0.4, "C+": 0.5, "O": 2.0, "e": 0.5},
        *(3e10, 1e-8),
    ),
}
STATEFUL = """name = second / order
units = molecule cm-3, s
balanced = X
[species]
A = X
B = X
[pools]
M = A + B
[sources]
S1 = Nobody (1900)
[reactions]
A -> B ; exp(-300 / temperature) / (1 + M / 2 + A0 * 0) ; S1
B -> A ; 0.1 ; S1
[quantities]
A0 = 1
"""


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def compiled(source, *flags, to="so"):
    """The library, or the program, that the C compiler makes of a file."""
    # a library of a name that is loaded already would not be loaded
    out = source.with_name(f"{source.stem}{abs(hash(flags))}.{to}")
    shared = ["-shared", "-fPIC"] if to == "so" else []
    command = [COMPILER, "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", *flags, *shared]
    done = subprocess.run(
        [*command, str(source), "-o", str(out), "-lm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out


def self_test(source, *flags):
    """The self-test of a file: exit status and what it prints."""
    made = compiled(source, *flags, f"-D{source.stem.upper()}_SELF_TEST", to="test")
    done = subprocess.run([str(made)], capture_output=True, text=True)
    return done.returncode, done.stdout


class Box:
    """A written network, called from Python."""

    def __init__(self, source, *flags):
        self.library = ctypes.CDLL(str(compiled(source, *flags)))
        self.name = source.stem
        header = source.with_suffix(".h").read_text()
        self.width = int(re.search(r"_RATES = (\d+)", header)[1])

    def rates(self, conditions):
        k = np.full((len(conditions), self.width), np.nan)
        given = np.ascontiguousarray(conditions, dtype=float)
        function = getattr(self.library, f"{self.name}_rates")
        assert function(ctypes.c_int64(len(k)), pointer(given), pointer(k)) == 0
        return k

    def solve(self, dt, k, y0, rtol, atol):
        y, status = np.array(y0), np.full(len(y0), -1, np.int32)
        function = getattr(self.library, f"{self.name}_solve")
        function.restype = ctypes.c_int64
        failed = function(
            ctypes.c_int64(len(y)),
            ctypes.c_double(dt),
            pointer(np.ascontiguousarray(k)),
            pointer(y),
            ctypes.c_double(rtol),
            pointer(np.ascontiguousarray(atol)),
            pointer(status),
        )
        return y, status, failed


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """A network of several cells: what jaxchem makes of them, and its file in C."""
    names, low, high, start, dt, scale = CASES[request.param]
    network, rng = jaxchem.load(request.param), np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("a folder with spaces")
    source = jaxchem.write_c(network, folder, conditions=names)
    cells, size = 17, len(network.species)
    conditions = rng.uniform(low, high, (cells, len(names))) if names else np.zeros((cells, 0))
    begin = network.y0(start) if start else jnp.full(size, 1e9)
    y0 = np.asarray(begin) * rng.uniform(0.5, 1.5, (cells, size))
    rates = jax.jit(jax.vmap(lambda c: network.rates(**dict(zip(names, c, strict=True)))))
    k = np.asarray(rates(conditions)) if names else np.tile(np.asarray(network.rates()), (cells, 1))
    atol = np.full(size, 1e-6 * scale)
    how = {"rtol": 1e-6, "atol": atol, "throw": False}
    many = jax.jit(
        jax.vmap(lambda k, y: jaxchem.solve(network, k, y, jnp.array([dt]), **how).ys[0])
    )
    return source, network, conditions, k, y0, dt, atol, scale, np.asarray(many(k, y0))


@needs_compiler
def test_a_box_has_the_bits_of_solve(case):
    """Given k; in batches of 1 and 17, beside cells that fail and keep what they had."""
    source, _, conditions, k, y0, dt, atol, _, expected = case
    box = Box(source, *BITS)
    found = box.rates(conditions)
    np.testing.assert_allclose(found, k, rtol=1e-12, atol=1e-300)  # JAX has no denormal numbers
    y, status, failed = box.solve(dt, k, y0, 1e-6, atol)
    assert failed == 0 and not status.any()
    np.testing.assert_array_equal(y, expected)
    alone, *_ = box.solve(dt, k[3:4], y0[3:4], 1e-6, atol)
    np.testing.assert_array_equal(alone[0], expected[3])
    k, spoilt = k.copy(), y0.copy()
    k[5], spoilt[2, 0] = np.inf, np.nan
    y, status, failed = box.solve(dt, k, spoilt, 1e-6, atol)
    assert failed == 2 and sorted(np.flatnonzero(status)) == [2, 5] and status[2] == 3
    good = status == 0
    np.testing.assert_array_equal(y[good], expected[good])
    np.testing.assert_array_equal(y[~good], spoilt[~good])


@needs_compiler
def test_a_box_by_any_compiler(case):
    """Without this processor's instructions: sums are rounded otherwise; and the self-test."""
    source, _, _, k, y0, dt, atol, scale, expected = case
    box = Box(source, *PLAIN, f"-D{source.stem.upper()}_SELF_TEST")
    y, _, failed = box.solve(dt, k, y0, 1e-6, atol)
    assert failed == 0
    assert np.max(np.abs(y - expected) / (np.abs(expected) + scale)) < 1e-12
    assert box.library.main() == 0


@needs_compiler
def test_the_self_test_can_fail(tmp_path):
    """As a program, in a folder with spaces; with a number that is not what it was."""
    network = jaxchem.load("robertson")
    source = jaxchem.write_c(network, tmp_path / "of a host", name="3 body / new")
    assert source.name == "n3_body_new.c"
    code, said = self_test(source, *PLAIN)
    assert code == 0 and "passed" in said
    spoilt = re.sub(r"(test_y\[\d+\] = \{\n)", r"\g<1>1e-3 + ", source.read_text())
    source.write_text(spoilt)
    code, said = self_test(source, *PLAIN)
    assert code == 1 and "FAILED" in said


@needs_compiler
def test_rates_of_the_state(tmp_path):
    """Coefficients that the state changes run in the file too, by the kernel's tape."""
    network = table.loads(STATEFUL)
    source = jaxchem.write_c(network, tmp_path)
    assert source.name == "second_order.c"
    box = Box(source, *BITS)
    temperatures = np.array([250.0, 300.0, 400.0])
    y0 = np.array([[1.0, 0.0], [0.5, 2.0], [3.0, 0.1]])
    numbers = box.rates(temperatures[:, None])
    atol = np.full(2, 1e-9)
    y, status, failed = box.solve(3.0, numbers, y0, 1e-9, atol)
    assert failed == 0 and not status.any()
    for start, end, temperature in zip(y0, y, temperatures, strict=True):

        def slope(_, state, temperature=temperature):
            flux = np.exp(-300 / temperature) / (1 + state.sum() / 2) * state[0] - 0.1 * state[1]
            return -flux, flux

        reference = solve_ivp(slope, (0, 3.0), start, "LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(end, reference, rtol=1e-7)
        k = network.rates(temperature=temperature)
        how = {"rtol": 1e-9, "atol": 1e-9}
        ours = jaxchem.solve(network, k, jnp.asarray(start), jnp.array([3.0]), **how).ys[0]
        np.testing.assert_allclose(end, ours, rtol=1e-12)


@needs_compiler
def test_too_many_steps_are_told(tmp_path):
    network = jaxchem.load("robertson")
    how = jaxchem.Integrator(max_steps=30)
    example = {"y0": np.array([1.0, 0.0, 0.0]), "dt": 1e-4}
    source = jaxchem.write_c(network, tmp_path, integrator=how, example=example)
    box, y0 = Box(source, *PLAIN), np.array([[1.0, 0.0, 0.0]])
    y, status, failed = box.solve(1e8, box.rates(np.zeros((1, 0))), y0, 1e-8, np.full(3, 1e-12))
    assert failed == 1 and status[0] == 1 and (y == y0).all()


REFUSED = {
    "a function of time": ({"given": {"temperature": lambda t: 300.0}}, "function of time"),
    "another method": ({"integrator": jaxchem.Integrator(method="kvaerno5")}, "kvaerno5"),
    "retries": ({"integrator": jaxchem.Integrator(retries=[jaxchem.Integrator()])}, "retries"),
    "nothing given": ({"conditions": ()}, "temperature"),
    "no condition": ({"conditions": ("temperatur",)}, "temperatur"),
    "twice": ({"conditions": ("temperature", "temperature")}, "twice"),
    "both": ({"conditions": ("temperature",), "given": {"temperature": 1.0}}, "twice"),
    "no name": ({"name": "+"}, "C function"),
    "a word of C": ({"name": "double"}, "C function"),
    "an example of nothing": ({"example": {"pressure": 1.0}}, "pressure"),
    "a start that fails": ({"example": {"y0": np.full(29, np.nan)}}, "self-test"),
    "a file for a folder": ({}, "cannot write"),
}


@pytest.mark.parametrize("settings, word", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(settings, word, tmp_path):
    folder = tmp_path
    if word == "cannot write":
        folder = tmp_path / "file"
        folder.write_text("")
    with pytest.raises(ValueError, match=word):
        jaxchem.write_c(jaxchem.load("osu29"), folder, **settings)
    assert not list(tmp_path.glob("*.c"))


def test_names_of_c():
    assert identifier("MCM v3.3.1") == "MCM_v3_3_1" and identifier("été") == "t"
    for bad in ("", "...", "int", "x" * 41):
        with pytest.raises(ValueError, match="C function"):
            identifier(bad)
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -2.0, 1e22]
    assert [float(number(x).strip("()")) for x in values] == values
    assert number(np.float32(1)) == "1.0f" and number(-np.inf) == "(-INFINITY)"


# Programs


def _newton(a):
    """Square roots, in as many iterations as each takes."""

    def go(carry):
        x, n = carry
        return (jnp.abs(x * x - a) > 1e-14 * a) & (n < 60)

    def step(carry):
        x, n = carry
        return 0.5 * (x + a / x), n + 1

    return jax.lax.while_loop(go, step, (a + 1.0, jnp.zeros((), jnp.int32)))


FUNCTIONS = {
    "loop": lambda x, y: _newton(jnp.abs(x[0]) * 100 ** jnp.abs(y[0])),
    "counted loop": lambda x, y: (jax.lax.scan(lambda c, r: (c + r[0], c * r), y[0], x[:, None]),),
    "running": lambda x, y: (jnp.cumsum(x), jax.lax.cumprod(x, reverse=True), jax.lax.cummax(x)),
    "products": lambda x, y: (
        jnp.arange(12.0).reshape(3, 4) @ y,
        x[:, None] * y[None],
        jnp.outer(x, y) @ jnp.arange(8.0).reshape(4, 2),
        jnp.einsum("i,j,ij->", x, y, jnp.outer(x, y)),
    ),
    "wide product": lambda x, y: (jnp.sin(jnp.arange(200.0)).reshape(40, 5) @ x,),
    "single product": lambda x, y: (
        jnp.matmul(
            jnp.cos(jnp.arange(75, dtype=jnp.float32)).reshape(15, 5), x.astype(jnp.float32)
        ).astype(float),
    ),
    "reductions": lambda x, y: (
        jnp.max(x),
        jnp.min(y),
        jnp.sum(jnp.outer(x, y), axis=0),
        jnp.prod(x),
        jnp.argmax(x).astype(float),
        jnp.any(x > 0.5).astype(float),
        jnp.argmin(jnp.outer(x, y), axis=1).astype(float),
    ),
    "moves": lambda x, y: (
        jnp.outer(x, y).T[::-1, 1:3],
        jnp.concatenate([y, x, y])[2:9],
        jnp.pad(x, (1, 2), constant_values=3.0),
        jnp.tile(y, 3),
        jnp.roll(x, 2),
        jnp.stack([y, y + 1], axis=1),
    ),
    "places": lambda x, y: (
        x[jnp.floor(5 * jnp.abs(y)).astype(jnp.int32)],
        jnp.outer(x, y)[jnp.floor(3 * jnp.abs(y)).astype(jnp.int32)],
        jax.lax.dynamic_slice(x, (jnp.floor(9 * y[0]).astype(jnp.int32),), (2,)),
        jnp.interp(y, jnp.linspace(-1.0, 1.0, 9), jnp.linspace(0.0, 1.0, 9) ** 2),
    ),
    "put": lambda x, y: (x.at[jnp.array([0, 3])].set(y[:2]), x.at[jnp.array([1, 1, 4])].add(y[:3])),
    "choices": lambda x, y: (
        jnp.where(x > 0, x, y[0]),
        jnp.clip(x, -0.2, 0.3),
        jnp.sign(x),
        jax.lax.cond(y[0] > 0, lambda: x, lambda: 2 * x),
        jax.lax.select_n(jnp.floor(1.5 + y).astype(jnp.int32), y, y + 1, y + 2),
    ),
    "functions": lambda x, y: (
        jnp.tanh(x),
        jax.nn.silu(x),
        jax.nn.softplus(x),
        jax.nn.gelu(x),
        jnp.abs(x) ** 0.3,
        x**7,
        x**-3,
        jnp.log1p(jnp.abs(x)),
        jnp.arctan2(x, x + 2),
        jnp.round(3 * x),
        jnp.floor(x),
        jax.nn.logsumexp(y),
        jnp.sqrt(jnp.abs(x)),
        jax.lax.rsqrt(jnp.abs(x)),
        jnp.exp2(x),
        jnp.remainder(x, 0.3),
        jax.nn.softmax(y),
    ),
    "what is not a number": lambda x, y: (
        jnp.maximum(x / 0.0 * 0.0, 1.0),
        jnp.max(x * jnp.nan),
        jnp.isfinite(x / (x - x[1])).astype(float),
        0 * x + jnp.inf,
    ),
    "nothing": lambda x, y: (jnp.zeros(0), jnp.ones(3), jnp.sum(x[:0]), x[:0] @ jnp.ones((0, 2))),
}


@needs_compiler
def test_programs_do_what_jax_does(tmp_path):
    """One cell at a time and many, each with loops of its own length."""
    from jaxchem.hosts.c_program import HEAD

    constants, parts, plans = Constants(), [], {}
    for place, (name, function) in enumerate(FUNCTIONS.items()):

        def flat(x, y, function=function):
            leaves = jax.tree.leaves(function(x, y))
            return (jnp.concatenate([jnp.ravel(jnp.asarray(leaf, float)) for leaf in leaves]),)

        for lanes in (1, LANES):
            made = program(f"f{place}_{lanes}", flat, [(5,), (4,)], constants, lanes)
            parts.append(made.text.replace("static void", "void"))
            plans[name, lanes] = (f"f{place}_{lanes}", made.work, flat)
    source = tmp_path / "programs.c"
    source.write_text("\n".join([HEAD, *constants.text, *parts]))
    library = ctypes.CDLL(str(compiled(source, "-O0", "-Wno-missing-prototypes")))
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1, 1, (LANES, 5)), rng.uniform(-1, 1, (LANES, 4))
    for (name, lanes), (symbol, work, function) in plans.items():
        if lanes == 1:
            (expected,) = jax.jit(jax.vmap(function))(x, y)
        room = np.zeros(work + 64, np.uint8)
        aligned = room[-room.ctypes.data % 64 :]
        for first in range(0, LANES, lanes):
            given = [np.ascontiguousarray(a[first : first + lanes].T) for a in (x, y)]
            found = np.full((expected.shape[1], lanes), -7.0)
            getattr(library, symbol)(pointer(aligned), *map(pointer, (*given, found)))
            rtol = 1e-5 if name == "single product" else 1e-12
            np.testing.assert_allclose(
                found.T,
                expected[first : first + lanes],
                rtol=rtol,
                atol=rtol,
                err_msg=f"{name} {lanes}",
            )


def test_what_has_no_c_is_named():
    for function, word in (
        (lambda x: (jnp.sort(x),), "sort"),
        (lambda x: (jax.pure_callback(lambda x: x, x, x),), "callback"),
        (lambda x: (jax.lax.fori_loop(0, 300, lambda i, x: 2 * x, x),), "300 iterations"),
    ):
        with pytest.raises(NotWrittenError, match=word):
            program("f", function, [(3,)], Constants())


# Emulators


@pytest.fixture(scope="module")
def clouds_of_osu29():
    network = jaxchem.load("osu29")
    y0, conditions = clouds(network, cases=16, temperature=(20.0, 100.0))
    ts = np.geomspace(1e3, 1e13, 12)
    dataset, _ = generate_ensemble(network, y0, conditions, ts, t0=1.0, progress=False)
    return network, observe(dataset, network)


FAMILIES = {
    "flow": lambda data, key: models.FlowMap.fitted(data, key=key, modes=8, width=16),
    "latent": lambda data, key: models.Latent.fitted(
        data, key=key, coder=(16, 8), dynamics="polynomial", degree=3, slopes="state", warp=2
    ),
    "step": lambda data, key: models.StepMap.fitted(data, key=key, starts=4, modes=8, width=16),
    "change": lambda data, key: models.ChangeMap.fitted(data, key=key, modes=8, width=16),
}


@needs_compiler
@pytest.mark.parametrize(
    "family", ["flow", "latent", "step", pytest.param("change", marks=pytest.mark.slow)]
)
def test_emulators(family, clouds_of_osu29, tmp_path, getkey):
    """As in JAX to the rounding of float32, cells one by one and in batches; totals to 1e-12."""
    network, data = clouds_of_osu29
    model = FAMILIES[family](data, getkey())
    if family == "step":
        model = models.conserved(model, network)
    y0, conditions = (np.ascontiguousarray(a, dtype=float) for a in (data.y0, data.conditions))
    y0, conditions = np.tile(y0, (2, 1)), np.tile(conditions, (2, 1))
    ts = np.array([1e9, 3e10])
    expected = np.asarray(jax.jit(jax.vmap(model, in_axes=(0, 0, None)))(y0, conditions, ts))
    assert np.isfinite(expected).all()
    source = models.write_c(model, tmp_path, name=family, ts=ts)
    library = ctypes.CDLL(str(compiled(source, "-O0", f"-D{family.upper()}_SELF_TEST")))
    assert library.main() == 0
    predict = getattr(library, f"{family}_predict")
    for cells in (1, 16, 23):
        ys = np.full((cells, 2, 29), -1.0)
        parts = (y0, conditions, ts, ys)
        assert predict(ctypes.c_int64(cells), *map(pointer, parts)) == 0
        scale = 1e-7 * np.max(np.abs(expected))
        off = np.abs(ys - expected[:cells]) / (np.abs(expected[:cells]) + scale)
        assert np.max(off) < 3e-4
        if family == "step":
            totals, start = ys @ network.conserved.T, y0[:cells, None] @ network.conserved.T
            most = y0[:cells, None] @ np.abs(network.conserved.T)
            assert np.max(np.abs(totals - start) / most) < 1e-12
    y0[0, 3] = np.nan
    predict(ctypes.c_int64(16), *map(pointer, parts))
    assert np.isnan(ys[0]).all() and np.isfinite(ys[1:]).all()
    low = np.array(model.about.low)
    lowest = (ctypes.c_double * len(low)).in_dll(library, f"{family}_lowest")
    np.testing.assert_array_equal(np.array(lowest), low)


def test_families_that_are_integrated_are_refused(clouds_of_osu29, tmp_path, getkey):
    _, data = clouds_of_osu29
    for model, name in (
        (models.Latent.fitted(data, key=getkey(), dynamics="neural_ode"), "Latent"),
        (models.NeuralODE.fitted(data, key=getkey()), "NeuralODE"),
    ):
        with pytest.raises(ValueError, match=f"a {name} cannot be written"):
            jaxchem.write_c(model, tmp_path)
    assert not list(tmp_path.iterdir())


# Fortran

DRIVER = """
program driver
  use osu29_mod
  use flow_mod
  implicit none
  integer(c_int64_t), parameter :: n = 3
  real(c_double) :: c(osu29_conditions, n), k(osu29_rate_count, n), y(osu29_species, n)
  real(c_double) :: atol(osu29_species), ys(flow_states, flow_times, n), ts(flow_times)
  integer(c_int32_t) :: status(n)
  integer :: i
  open(10, file='in.bin', access='stream', form='unformatted')
  read(10) c, y
  ts = 1d9
  if (flow_predict(n, y, c(1:1, :), ts, ys) /= 0) stop 1
  if (osu29_rates(n, c, k) /= 0) stop 2
  atol = 1d-14
  i = int(osu29_solve(n, 3d10, k, y, 1d-6, atol, status))
  open(11, file='out.bin', access='stream', form='unformatted')
  write(11) y, ys
  print '(a,1x,a,1x,a,1x,i0)', trim(osu29_species_names(17)), trim(osu29_condition_names(1)), &
    trim(osu29_time_unit), i
end program
"""


@needs_compiler
@pytest.mark.skipif(FORTRAN is None, reason="there is no gfortran")
def test_a_fortran_program_calls_them(clouds_of_osu29, tmp_path, getkey):
    network, data = clouds_of_osu29
    model = FAMILIES["flow"](data, getkey())
    names = ("temperature", "cosmic_ray_rate")
    files = [
        jaxchem.write_c(network, tmp_path, conditions=names).name,
        jaxchem.write_c(model, tmp_path, name="flow").name,
    ]
    (tmp_path / "driver.f90").write_text(DRIVER)
    for file in files:
        command = [COMPILER, "-std=c11", *BITS, "-c", file]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    sources = [file.replace(".c", end) for end in (".f90", ".o") for file in files]
    command = [
        FORTRAN,
        "-Wall",
        "-Werror",
        "-std=f2008",
        *sources,
        "driver.f90",
        "-o",
        "driver",
        "-lm",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    y0 = np.asarray(data.y0)[:3]
    conditions = np.concatenate([np.asarray(data.conditions)[:3], np.full((3, 1), 1e-16)], axis=1)
    (tmp_path / "in.bin").write_bytes(conditions.tobytes() + y0.tobytes())
    done = subprocess.run([str(tmp_path / "driver")], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["H2", "temperature", "s", "0"]
    found = np.fromfile(tmp_path / "out.bin").reshape(2, 3, 29)
    for cell in range(3):
        k = network.rates(temperature=conditions[cell, 0], cosmic_ray_rate=1e-16)
        how = {"rtol": 1e-6, "atol": 1e-14}
        ours = jaxchem.solve(network, k, jnp.asarray(y0[cell]), jnp.array([3e10]), **how).ys[0]
        np.testing.assert_allclose(found[0, cell], ours, rtol=1e-9, atol=1e-14)
        predicted = model(y0[cell], conditions[cell, :1], np.array([1e9]))[0]
        np.testing.assert_allclose(found[1, cell], predicted, rtol=1e-4)


@pytest.mark.skipif(FORTRAN is None, reason="there is no gfortran")
@pytest.mark.parametrize(
    ("what", "name"),
    [("robertson", None), ("pollu", None), ("mcm_methane", None), ("osu29", "n" * 40)],
)
def test_modules_of_fortran_are_fortran(what, name, tmp_path):
    path = jaxchem.write_c(jaxchem.load(what), tmp_path, name=name).with_suffix(".f90")
    command = [FORTRAN, "-Wall", "-Werror", "-std=f2008", "-fsyntax-only", path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert max(map(len, path.read_text().splitlines())) <= 132


def test_lines_of_fortran_and_names_that_c_has(tmp_path):
    path = jaxchem.write_c(jaxchem.load("mcm_methane"), tmp_path, name="n" * 40)
    assert max(map(len, path.with_suffix(".f90").read_text().splitlines())) <= 132
    for name in ("math", "String", "class", "while", "..."):
        with pytest.raises(ValueError, match="makes no name of a C function"):
            jaxchem.write_c(jaxchem.load("robertson"), tmp_path, name=name)
    with pytest.raises(ValueError, match="do not depend on 'temperature'; leave it out"):
        jaxchem.write_c(jaxchem.load("robertson"), tmp_path, conditions=["temperature"])


# Artefacts


@pytest.fixture
def flatbuffers():
    pytest.importorskip("flatbuffers")


def test_an_emulator_as_an_artefact(flatbuffers, clouds_of_osu29, tmp_path, getkey):
    """In a process that has neither jaxchem nor equinox; batches of any size."""
    _, data = clouds_of_osu29
    model = FAMILIES["latent"](data, getkey())
    path = jaxchem.export(model, tmp_path / "new" / "latent.stablehlo")
    ts = np.array([1e9, 1e10, 1e11])
    again = jaxchem.load_exported(path)
    run = jax.jit(jax.vmap(model, in_axes=(0, 0, None)))
    for cells in (1, 16):
        given = data.y0[:cells], data.conditions[:cells], ts[:cells]
        np.testing.assert_allclose(again(*given), run(*given), rtol=1e-12)
    told = json.loads(path.with_name("latent.stablehlo.json").read_text())
    assert tuple(told["states"]) == model.about.states and told["conditions"] == ["temperature"]
    assert told["lowest"] == list(model.about.low) and told["time"] == "s"
    alone = (
        "import sys, jax, jax.export, numpy as np\n"
        "jax.config.update('jax_enable_x64', True)\n"
        f"e = jax.export.deserialize(bytearray(open({str(path)!r}, 'rb').read()))\n"
        f"y0, c, ts, ys = (np.load({str(tmp_path)!r} + f'/{{n}}.npy') for n in range(4))\n"
        "np.testing.assert_allclose(e.call(y0, c, ts), ys, rtol=1e-12)\n"
        "assert 'jaxchem' not in sys.modules and 'equinox' not in sys.modules\n"
    )
    parts = (data.y0, data.conditions, ts, run(data.y0, data.conditions, ts))
    for n, part in enumerate(parts):
        np.save(tmp_path / f"{n}.npy", part)
    subprocess.run([sys.executable, "-c", alone], check=True)


def test_a_box_as_an_artefact(flatbuffers, tmp_path):
    network, how = jaxchem.load("robertson"), jaxchem.Integrator(rtol=1e-8, atol=1e-12)
    again = jaxchem.load_exported(jaxchem.export(network, tmp_path / "box", integrator=how))
    y0, ts = np.tile([[1.0, 0.0, 0.0]], (9, 1)), np.array([1.0, 100.0])
    y0[4, 1] = np.nan
    ys, failed = again(y0, np.zeros((9, 0)), ts)
    assert np.flatnonzero(failed).tolist() == [4]
    k = network.rates()
    expected = jaxchem.solve(network, k, jnp.asarray(y0[0]), jnp.asarray(ts), integrator=how).ys
    np.testing.assert_allclose(ys[0], expected, rtol=1e-12)
    assert again(y0[:1], np.zeros((1, 0)), ts[:1])[0].shape == (1, 1, 3)


def test_artefacts_that_are_refused(flatbuffers, clouds_of_osu29, tmp_path, getkey):
    model = FAMILIES["flow"](clouds_of_osu29[1], getkey())
    for settings, word in (({"conditions": ()}, "of a network"), ({"given": {}}, "of a network")):
        with pytest.raises(ValueError, match=word):
            jaxchem.export(model, tmp_path / "x", **settings)
    with pytest.raises(ValueError, match="CPU"):
        jaxchem.export(jaxchem.load("robertson"), tmp_path / "x", platforms=("cuda",))
    with pytest.raises(ValueError, match="no artefact"):
        jaxchem.load_exported(tmp_path / "x")
    path = jaxchem.export(model, tmp_path / "x")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="no artefact"):
        jaxchem.load_exported(path)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match="not what"):
        jaxchem.load_exported(path)


# The command line


def test_the_command_line(clouds_of_osu29, tmp_path, getkey, capsys):
    arguments = [
        "write-c",
        "osu29",
        str(tmp_path),
        "--given",
        "temperature=50",
        "--method",
        "rodas4",
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "osu29.c")
    header = (tmp_path / "osu29.h").read_text()
    assert "always: temperature = 50" in header and "OSU29_CONDITIONS = 1" in header
    model = FAMILIES["flow"](clouds_of_osu29[1], getkey())
    models.save(tmp_path / "model.eqx", model)
    assert main(["write-c", str(tmp_path / "model.eqx"), str(tmp_path), "--name", "cloud"]) == 0
    assert (tmp_path / "cloud.f90").is_file()
    for words, told in (
        (["osu29", "x", "--given", "temperature"], "NAME=VALUE"),
        (["osu30", "x"], "osu30"),
        ([str(tmp_path / "model.eqx"), "x", "--method", "rodas4"], "networks"),
    ):
        assert main(["write-c", *words]) == 1
        assert told in capsys.readouterr().err


def test_help_comes_at_once():
    code = "import sys\nfrom jaxchem.__main__ import main\ntry: main(['--help'])\n"
    code += "except SystemExit: sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "write-c" in done.stdout
