"""Ensembles: chunks, retries, stores, resume."""

import socket
import subprocess
import sys

import numpy as np
import pytest
from problems import CONDITIONS, state

import jaxchem
from jaxchem.solvers import native

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


@pytest.mark.parametrize("chunk", [1, 8, 37, 1000])
def test_chunks_do_not_change_results(cells, chunk):
    found, whole = run(cells, chunk=chunk), run(cells)
    np.testing.assert_array_equal(found.ys, whole.ys)
    assert not found.result.any() and not found.retried.any()
    network, k, y0 = cells
    alone = jaxchem.solve(network, k[30], y0[30], TS)
    np.testing.assert_array_equal(found.ys[30], alone.ys)
    assert found.steps[30] == alone.stats["num_steps"]


def test_shared_rates(cells):
    network, k, y0 = cells
    found = jaxchem.solve_ensemble(network, k[0], y0, TS, progress=False, chunk=10)
    expected = jaxchem.solve_ensemble(network, np.tile(k[0], (37, 1)), y0, TS, progress=False)
    np.testing.assert_array_equal(found.ys, expected.ys)


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


def test_without_the_kernel_cells_of_like_stiffness_go_together(cells, monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    found = run(cells, chunk=16, rtol=1e-7)
    monkeypatch.undo()
    expected = run(cells, rtol=1e-7)
    assert not found.result.any()
    np.testing.assert_allclose(found.ys, expected.ys, rtol=1e-4, atol=1e-12)


def test_two_processes_share_a_store(tmp_path):
    """Each takes its chunks through `jax.distributed`; together they are all there."""
    script = """
import sys, jax, numpy as np
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
import jaxchem
network = jaxchem.load("robertson")
y0 = np.tile(np.asarray(network.y0({"A": 1.0})), (20, 1)) * np.linspace(0.5, 2.0, 20)[:, None]
jaxchem.solve_ensemble(
    network, network.rates(), y0, [1.0, 1e3], chunk=3, store=sys.argv[3], progress=False
)
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
