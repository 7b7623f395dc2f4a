"""Ensembles: chunks, retries, stores, resume."""

import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CONDITIONS, EXCHANGE, state
from scipy.integrate import solve_ivp

import jaxchem
import jaxchem.ensemble
from jaxchem.parse import table

TS = np.geomspace(1e-2, 1e4, 4)


@pytest.fixture(scope="module")
def cells():
    network = jaxchem.load("robertson")
    random = np.random.default_rng(0)
    k = np.asarray(network.rates()) * 10.0 ** random.uniform(-1, 1, (37, 3))
    y0 = np.tile(np.asarray(state("robertson")), (37, 1)) * random.uniform(0.5, 2, (37, 1))
    return network, k, y0


def run(cells, **settings):
    return jaxchem.solve_ensemble(*cells, TS, progress=False, **settings)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("chunk", [1, 8, 37, 1000])
def test_chunks_do_not_change_results(cells, chunk):
    found, whole = run(cells, chunk=chunk), run(cells)
    np.testing.assert_array_equal(found.ys, whole.ys)
    assert not found.result.any() and not found.retried.any()
    network, k, y0 = cells
    alone = jaxchem.solve(network, k[30], y0[30], TS)
    # a cell that is alone has sums of its own order
    np.testing.assert_allclose(found.ys[30], alone.ys, rtol=1e-11)
    assert found.steps[30] == alone.stats["num_steps"]


def test_shared_rates(cells):
    network, k, y0 = cells
    found = jaxchem.solve_ensemble(network, k[0], y0, TS, progress=False, chunk=10)
    expected = jaxchem.solve_ensemble(network, np.tile(k[0], (37, 1)), y0, TS, progress=False)
    np.testing.assert_array_equal(found.ys, expected.ys)


@pytest.mark.usefixtures("engine")
def test_failed_cells_are_tried_again_and_then_reported(cells):
    network, k, y0 = cells
    k = k.copy()
    k[5, 0] = np.nan
    short = jaxchem.Integrator(
        method="rodas4", max_steps=int(np.median(run(cells, method="rodas4").steps))
    )
    first = run((network, k, y0), integrator=short, retries=())
    failed = first.result == 1
    assert 0 < failed.sum() < 36
    assert first.result[5] == 3
    assert np.isinf(first.ys[failed, -1]).all()
    mended = run((network, k, y0), integrator=short, retries=[short.replace(max_steps=10_000)])
    np.testing.assert_array_equal(np.flatnonzero(mended.result), [5])
    np.testing.assert_array_equal(mended.retried == 1, failed)
    fine = ~failed
    np.testing.assert_array_equal(mended.ys[fine], first.ys[fine])
    tight, other = jaxchem.ladder(short)
    assert float(tight.rtol) == pytest.approx(1e-8)
    assert other.method == "rodas3" and other.max_steps == 10 * short.max_steps


def test_store(cells, tmp_path):
    """Chunks on disk hold what memory would, with labels; a gap is filled, another run refused."""
    network, *_ = cells
    whole = run(cells)
    found = run(cells, chunk=10, store=tmp_path / "store")
    assert found.ys is None
    np.testing.assert_array_equal(found.steps, whole.steps)
    store = jaxchem.Store(tmp_path / "store")
    assert len(store) == 4
    chunks = list(store)
    assert chunks[0]["concentration"].dims == ("case", "time", "species")
    assert chunks[0]["concentration"].attrs["units"] == network.units.concentration
    where = np.concatenate([c["cell"].values for c in chunks])
    ys = np.concatenate([c["concentration"].values for c in chunks])
    np.testing.assert_array_equal(ys[np.argsort(where)], whole.ys)
    kept = store.path(0).stat().st_mtime_ns
    store.path(2).unlink()
    again = run(cells, chunk=10, store=tmp_path / "store")
    assert store.has(2) and store.path(0).stat().st_mtime_ns == kept
    np.testing.assert_array_equal(again.steps, whole.steps)
    np.testing.assert_array_equal(store.get(2)["concentration"], chunks[2]["concentration"])
    for other in ({"rtol": 1e-5}, {"method": "rodas4"}, {"chunk": 9}):
        with pytest.raises(ValueError, match="holds another ensemble"):
            run(cells, **{"chunk": 10, "store": tmp_path / "store", **other})
    with pytest.raises(ValueError, match="holds another ensemble"):
        run((jaxchem.hold(network, ["C"]), *cells[1:]), chunk=10, store=tmp_path / "store")
    rungs = [[jaxchem.Integrator(method=m)] for m in ("rodas3", "rodas4")]
    run(cells, store=tmp_path / "listed", retries=rungs[0])
    with pytest.raises(ValueError, match="holds another ensemble"):
        run(cells, store=tmp_path / "listed", retries=rungs[1])
    store.path(1).write_bytes(store.path(1).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"chunk-000001\.nc is missing or damaged"):
        store.get(1)
    with pytest.raises(ValueError, match=r"no store.json"):
        len(jaxchem.Store(tmp_path))


def test_two_processes_share_a_store(tmp_path):
    """Each takes its chunks through `jax.distributed`; together they are all there."""
    script = """
import sys, jax, numpy as np
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
import jaxchem, jaxchem.ensemble
network = jaxchem.load("robertson")
y0 = np.tile(np.asarray(network.y0({"A": 1.0})), (20, 1)) * np.linspace(0.5, 2.0, 20)[:, None]
jaxchem.solve_ensemble(
    network, network.rates(), y0, [1.0, 1e3], chunk=3, store=sys.argv[3], progress=False
)
found = jaxchem.solve_ensemble(network, network.rates(), y0, [1.0], chunk=3, progress=False)
mine = np.isfinite(found.ys).all(axis=(1, 2))
assert 0 < mine.sum() < 20
assert (found.result == np.where(mine, 0, jaxchem.ensemble.FAILURES.index("elsewhere"))).all()
"""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", script, str(port)]
    both = [subprocess.Popen([*command, str(i), str(tmp_path / "store")]) for i in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    chunks = list(jaxchem.Store(tmp_path / "store"))
    np.testing.assert_array_equal(np.concatenate([c["cell"] for c in chunks]), np.arange(20))
    assert not any(c["result"].any() for c in chunks)


def test_bad_input(cells):
    network, k, y0 = cells
    with pytest.raises(ValueError, match=r"y0 has shape \(37, 2\).*\(cells, 3\)"):
        run((network, k, y0[:, :2]))
    with pytest.raises(ValueError, match=r"k has shape \(5, 3\); 37 cells"):
        run((network, k[:5], y0))
    spoilt = np.array(y0)
    spoilt[30, 1] = -1e-9
    for given in (spoilt, spoilt.tolist()):
        with pytest.raises(ValueError, match=r"of '.*' in cell 30 is -1e-09"):
            run((network, k, given), chunk=8)
    with pytest.raises(ValueError, match="at least one cell"):
        run(cells, chunk=0)
    with pytest.raises(ValueError, match="must be finite and increase"):
        jaxchem.solve_ensemble(network, k, y0, TS[::-1], progress=False)


def test_no_cell_of_osu29_fails():
    """Every initial abundance off by up to two decades, 200 times."""
    network = jaxchem.load("osu29")
    random = np.random.default_rng(1)
    y0 = np.asarray(state("osu29")) * 10.0 ** random.uniform(-2, 2, (200, 29))
    k = network.rates(**CONDITIONS["osu29"])
    found = jaxchem.solve_ensemble(
        network, k, y0, np.geomspace(1e2, 3e15, 20), t0=1.0, rtol=1e-4, retries=(), progress=False
    )
    assert not found.result.any()


# Conditions of each cell

EXCHANGE_TS = np.array([0.2, 3.0])


@pytest.fixture(scope="module")
def exchange():
    """A network under Arrhenius rates, temperatures of nine cells, and where they start."""
    random = np.random.default_rng(3)
    y0 = random.uniform(0.5, 2.0, (9, 2))
    return table.loads(EXCHANGE), random.uniform(270.0, 330.0, 9), y0


def exchanged(temperature, y0, ts=EXCHANGE_TS):
    """scipy's, of A -> B and 2 B -> 2 A; the temperature is a function of time and state."""

    def field(t, y):
        one = 1e3 * np.exp(-2000.0 / temperature(t, y))
        two = 1e6 * np.exp(-4000.0 / temperature(t, y))
        change = one * y[0] - 2.0 * two * y[1] ** 2
        return [-change, change]

    return solve_ivp(field, (0, ts[-1]), y0, "Radau", ts, rtol=1e-10, atol=1e-14).y.T


def test_conditions_of_each_cell(exchange):
    """Arrays, numbers and functions of time by name; a function of the cell; all as scipy's."""
    network, temperatures, y0 = exchange
    how = {"rtol": 1e-8, "progress": False, "chunk": 4}
    truth = [exchanged(lambda t, y, T=T: T, y) for T, y in zip(temperatures, y0, strict=True)]
    by_name = jaxchem.solve_ensemble(network, {"temperature": temperatures}, y0, EXCHANGE_TS, **how)
    by_cell = jaxchem.solve_ensemble(
        network,
        lambda cell: network.rates(temperature=cell["T"]),
        y0,
        EXCHANGE_TS,
        cells={"T": temperatures.tolist()},
        **how,
    )
    for found in (by_name, by_cell):
        np.testing.assert_allclose(found.ys, truth, rtol=1e-6)
    one = jaxchem.solve_ensemble(network, {"temperature": 300.0}, y0, EXCHANGE_TS, **how)
    expected = [exchanged(lambda t, y: 300.0, y) for y in y0]
    np.testing.assert_allclose(one.ys, expected, rtol=1e-6)


def test_conditions_that_vary_in_time(exchange):
    network, temperatures, y0 = exchange
    how = {"rtol": 1e-8, "progress": False}
    expected = [exchanged(lambda t, y: 300.0 + 20.0 * np.sin(t), y) for y in y0]

    def swing(t):
        return 300.0 + 20.0 * jnp.sin(t)

    named = jaxchem.solve_ensemble(network, {"temperature": swing}, y0, EXCHANGE_TS, **how)
    whole = jaxchem.solve_ensemble(
        network, network.rates(temperature=swing), y0, EXCHANGE_TS, **how
    )
    for found in (named, whole):
        np.testing.assert_allclose(found.ys, expected, rtol=1e-6)
    own = jaxchem.solve_ensemble(
        network,
        lambda cell: network.rates(temperature=lambda t: cell["T"] + cell["swing"][0] * t),
        y0,
        EXCHANGE_TS,
        cells={"T": temperatures, "swing": np.linspace(0, 5, 18).reshape(9, 2)},
        **how,
    )
    swings = np.linspace(0, 5, 18)[::2]
    expected = [
        exchanged(lambda t, y, T=T, s=s: T + s * t, y)
        for T, s, y in zip(temperatures, swings, y0, strict=True)
    ]
    np.testing.assert_allclose(own.ys, expected, rtol=1e-6)


def test_quantities_of_each_cell():
    """Emission and deposition, one of them by cell, in an open box."""
    box = jaxchem.exchange(table.loads(EXCHANGE), emissions=["A"], deposition=["B"])
    emitted, y0 = np.array([0.0, 1.0, 2.0]), np.zeros((3, 2))
    conditions = {"temperature": 300.0, "quantities": {"EMIS.A": emitted, "DEP.B": 0.3}}
    found = jaxchem.solve_ensemble(box, conditions, y0, [1.0, 3e4], rtol=1e-7, progress=False)
    # at rest all that is emitted is deposited
    np.testing.assert_allclose(found.ys[:, -1, 1], emitted / 0.3, rtol=1e-5)
    with pytest.raises(ValueError, match=r"condition quantities: 'EMIS\.A' has 2 values.* 3 cells"):
        jaxchem.solve_ensemble(
            box,
            {**conditions, "quantities": {"EMIS.A": emitted[:2], "DEP.B": 0.3}},
            *(y0, [1.0]),
        )


@pytest.mark.usefixtures("engine")
def test_systems(exchange, tmp_path):
    """One for all cells, and one made of what each cell has; the further state is stored."""
    network, temperatures, y0 = exchange
    starts = np.concatenate([y0, temperatures[:, None]], axis=1)

    def rates(t, y):
        return network.rates(temperature=y[2])

    def cooling(t, y):
        return jnp.zeros(3).at[2].set(0.5 * (300.0 - y[2]))

    system = jaxchem.System(network, rates, {"temperature": "K"}, cooling)
    how = {"rtol": 1e-8, "progress": False, "chunk": 4}
    found = jaxchem.solve_ensemble(system, starts, EXCHANGE_TS, store=tmp_path / "store", **how)
    made = jaxchem.solve_ensemble(
        lambda cell: jaxchem.System(
            network,
            rates,
            {"temperature": "K"},
            lambda t, y: jnp.zeros(3).at[2].set(cell["rate"] * (300.0 - y[2])),
        ),
        starts,
        EXCHANGE_TS,
        cells={"rate": np.full(9, 0.5)},
        **how,
    )
    assert not found.result.any()
    expected = [
        exchanged(lambda t, y, T=T: 300.0 + (T - 300.0) * np.exp(-0.5 * t), y)
        for T, y in zip(temperatures, y0, strict=True)
    ]
    np.testing.assert_allclose(made.ys[..., :2], expected, rtol=1e-6)
    for chunk in jaxchem.Store(tmp_path / "store"):
        where = chunk["cell"].values
        np.testing.assert_allclose(chunk["temperature"], made.ys[where, :, 2], rtol=1e-7)
        np.testing.assert_allclose(chunk["concentration"], made.ys[where, :, :2], rtol=1e-6)
    with pytest.raises(ValueError, match=r"gives a float; return a jaxchem\.System"):
        jaxchem.solve_ensemble(lambda cell: 1.0, starts, EXCHANGE_TS, cells={"rate": np.ones(9)})


def test_functions_enter_the_mark_of_a_store(exchange, tmp_path):
    """Another function of the same name is another ensemble; the same one goes on."""
    network, temperatures, y0 = exchange
    how = {"store": tmp_path / "store", "progress": False}

    def solve(offset, cells=temperatures, slope=1.0):
        jaxchem.solve_ensemble(
            network,
            lambda cell: network.rates(temperature=lambda t: cell["T"] + offset + slope * t),
            *(y0, EXCHANGE_TS),
            **({"cells": {"T": cells}} | how),
        )

    solve(0.0)
    solve(0.0)
    for changed in ({"offset": 1.0}, {"offset": 0.0, "slope": 2.0}):
        with pytest.raises(ValueError, match="holds another ensemble"):
            solve(**changed)
    with pytest.raises(ValueError, match="holds another ensemble"):
        solve(0.0, temperatures + 1.0)
    with pytest.raises(ValueError, match="holds another ensemble"):
        solve(np.zeros(1)[0] + jnp.asarray([0.0, 1.0])[1])


def test_what_compiled_functions_close_over_enters_the_mark(cells, tmp_path):
    """The text of a program does not show the arrays that an inner `jax.jit` holds."""
    network, k, y0 = cells

    def solve(factor):
        held = factor * jnp.asarray(k[0])
        run((network, jax.jit(lambda t: held * (1.0 + 0.0 * t)), y0), store=tmp_path / "store")

    solve(1.0)
    solve(1.0)
    with pytest.raises(ValueError, match="holds another ensemble"):
        solve(2.0)


def test_a_disk_that_is_full_is_told_at_once(cells, tmp_path, monkeypatch):
    """Chunks are written while others are integrated; what was written stays."""
    put = jaxchem.Store.put

    def full(self, chunk, dataset):
        if chunk == 1:
            raise OSError(28, "No space left on device")
        put(self, chunk, dataset)

    with monkeypatch.context() as patch:
        patch.setattr(jaxchem.Store, "put", full)
        with pytest.raises(OSError, match="No space left"):
            run(cells, chunk=10, store=tmp_path / "store")
    store = jaxchem.Store(tmp_path / "store")
    assert store.has(0) and not store.has(1) and not store.has(3)
    run(cells, chunk=10, store=tmp_path / "store")
    assert all(map(store.has, range(4)))


@pytest.mark.parametrize("method", ["rodas5p", "kvaerno5"])
def test_nothing_stale_is_kept(cells, method):
    """A function that closes over something else than before is not what was compiled."""
    network, k, y0 = cells
    y0 = y0[:3]
    factor, held = 1.0, np.array(k[0])

    def rates(t):
        return factor * held * (1.0 + 0.0 * t)

    def found():
        return run((network, rates, y0), rtol=1e-8, method=method).ys

    def expected(scale):
        return run((network, scale * k[0], y0), rtol=1e-8).ys

    np.testing.assert_allclose(found(), expected(1.0), rtol=1e-6)
    factor = 2.0
    np.testing.assert_allclose(found(), expected(2.0), rtol=1e-6)
    held *= 3.0
    np.testing.assert_allclose(found(), expected(6.0), rtol=1e-6)


def test_what_was_compiled_is_kept(cells, monkeypatch):
    """Other numbers and other counts of failures compile little or nothing."""
    network, k, y0 = cells
    traced, inner = [], jaxchem.ensemble.solve
    monkeypatch.setattr(
        jaxchem.ensemble, "solve", lambda *a, **s: traced.append(1) or inner(*a, **s)
    )
    short = jaxchem.Integrator(method="rodas4", max_steps=77)
    first = run((network, k, y0), integrator=short, retries=())
    begun = len(traced)
    again = run((network, 1.01 * k, 0.9 * y0), integrator=short.replace(rtol=1e-5), retries=())
    assert len(traced) == begun == 1 and np.any(again.ys != first.ys)
    traced.clear()
    short, counts = short.replace(max_steps=40), []
    for easy in (21, 23, 26):  # of 37: nothing happens in these
        some = np.where((np.arange(37) < easy)[:, None], 0.0, k)
        found = run((network, some, y0), integrator=short, retries=[short.replace(max_steps=900)])
        assert not found.result.any()
        counts.append(int((found.retried > 0).sum()))
    assert counts == [16, 14, 11]
    assert len(traced) == 2  # the chunk, and sixteen that failed
    begin = time.perf_counter()
    run((network, k, y0), integrator=short, retries=())
    assert time.perf_counter() - begin < 0.2


def test_ladder_of_a_traced_tolerance():
    network, y0 = jaxchem.load("robertson"), state("robertson")

    @jax.jit
    def end(rtol):
        integrator = jaxchem.Integrator(rtol=rtol)
        rungs = jaxchem.ladder(integrator)
        settings = {"integrator": integrator, "retries": rungs}
        return jaxchem.solve(network, network.rates(), y0, [10.0], **settings).ys, rungs[0].rtol

    ys, tight = end(1e-5)
    assert float(tight) == pytest.approx(1e-7)
    np.testing.assert_allclose(
        ys, jaxchem.solve(network, network.rates(), y0, [10.0]).ys, rtol=1e-3
    )


def test_bad_cells(exchange):
    network, temperatures, y0 = exchange

    def solve(k, y0=y0, **settings):
        return jaxchem.solve_ensemble(network, k, y0, EXCHANGE_TS, progress=False, **settings)

    with pytest.raises(ValueError, match=r"condition 'temperature' has 5 values.* 9 cells"):
        solve({"temperature": temperatures[:5]})
    with pytest.raises(ValueError, match=r"condition 'temperature' has shape \(9, 2\)"):
        solve({"temperature": np.ones((9, 2))})
    with pytest.raises(ValueError, match=r"cells\['T'\] has 3 values.* 9 cells"):
        solve(lambda cell: cell["T"], cells={"T": np.ones(3)})
    with pytest.raises(ValueError, match=r"cells\['T'\] has one value.* 9 cells"):
        solve(lambda cell: cell["T"], cells={"T": 1.0})
    with pytest.raises(ValueError, match="needs temperature"):
        solve({"pressure": 1e5})
    with pytest.raises(ValueError, match=r"k has shape \(3,\)"):
        solve(lambda cell: jnp.ones(3), cells={"T": temperatures})
    with pytest.raises(ValueError, match="is for a function of a cell"):
        solve(np.ones(2), cells={"T": temperatures})
    with pytest.raises(ValueError, match="wants cells="):
        jaxchem.solve_ensemble(lambda cell: None, y0, EXCHANGE_TS)
    with pytest.raises(TypeError, match="2 arguments follow"):
        jaxchem.solve_ensemble(network, y0, EXCHANGE_TS)


def test_a_function_of_a_cell_asks_for_what_is_not_there(cells):
    network, _, y0 = cells
    with pytest.raises(ValueError, match="asks for 'heat', but cells have warmth"):
        jaxchem.solve_ensemble(
            network,
            lambda cell: network.rates() * cell["heat"],
            y0,
            TS,
            cells={"warmth": np.ones(len(y0))},
        )


def test_a_store_knows_functions_that_are_called_back_by_identity(cells, tmp_path):
    """What Python computes in them cannot be seen."""
    network, _, y0 = cells

    def called(factor):
        k = np.asarray(network.rates()) * factor
        shape = jax.ShapeDtypeStruct((3,), float)

        def compute(t):
            return k

        return lambda t: jax.pure_callback(compute, shape, t, vmap_method="sequential")

    how = {"store": tmp_path / "store", "method": "kvaerno3", "rtol": 1e-3, "progress": False}
    first = called(1.0)
    for _ in range(2):
        jaxchem.solve_ensemble(network, first, y0[:1], TS[:1], **how)
    with pytest.raises(ValueError, match="holds another ensemble"):
        jaxchem.solve_ensemble(network, called(5.0), y0[:1], TS[:1], **how)
