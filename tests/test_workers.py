"""Chunks and cases that go to workers, and shares of one store."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxchem
from jaxchem import ensemble, workers
from jaxchem.ensemble import generate_ensemble, solve_ensemble

TIMES = np.array([1.0, 100.0, 1e4])
HOW = {"t0": 0.0, "chunk": 20, "progress": False}


@pytest.fixture(scope="module")
def network():
    return jaxchem.load("robertson")


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(0.5, 1.5, (95, 1)), np.zeros((95, 2))], axis=1)


@pytest.fixture(scope="module")
def rates(network):
    return np.asarray(network.rates()) * np.random.default_rng(1).uniform(0.5, 2, (95, 3))


@pytest.fixture(scope="module")
def alone(network, rates, cells):
    return solve_ensemble(network, rates, cells, TIMES, **HOW)


@pytest.fixture(scope="module")
def spawned():
    with workers.pool(1) as executor:
        yield executor


def same(found, alone):
    for one, other in zip(found, alone, strict=True):
        if one is not None:
            np.testing.assert_array_equal(one, other)


def stored(folder, shape):
    ys = np.full(shape, np.nan)
    for chunk in jaxchem.Store(folder):
        ys[chunk["cell"].values] = chunk["concentration"].values
    return ys


def test_workers_give_what_one_process_gives(network, rates, cells, alone, spawned, tmp_path):
    same(solve_ensemble(network, rates, cells, TIMES, executor=spawned, **HOW), alone)
    how = {"executor": spawned, "store": tmp_path, **HOW}
    found = solve_ensemble(network, rates, cells, TIMES, **how)
    assert found.ys is None
    same(found, alone)
    np.testing.assert_array_equal(stored(tmp_path, alone.ys.shape), alone.ys)
    (tmp_path / "chunk-000002.nc").unlink()
    same(solve_ensemble(network, rates, cells, TIMES, **how), alone)
    np.testing.assert_array_equal(stored(tmp_path, alone.ys.shape), alone.ys)


def test_a_new_process_has_the_floats_of_its_parent(spawned):
    found = dict(workers.mapped(spawned, _told, np.ones(2), [(0,), (1,)]))
    threads = str(len(os.sched_getaffinity(0)))
    assert found == {0: (True, threads), 1: (True, threads)}


def _told(shared, number):
    floats = jax.numpy.asarray(shared).dtype == np.float64
    return number, (bool(floats), os.environ["JAXCHEM_THREADS"])


def test_functions_and_failures_come_back(network, cells, spawned):
    def k(cell):
        return network.rates() * cell["factor"]

    start = cells.copy()
    factor = np.ones(len(cells))
    factor[17] = np.nan
    own = {"factor": factor}
    here = solve_ensemble(network, k, start, TIMES, cells=own, **HOW)
    there = solve_ensemble(network, k, start, TIMES, cells=own, executor=spawned, **HOW)
    assert np.flatnonzero(here.result).tolist() == [17]
    same(there, here)


def test_threads_are_an_executor(network, rates, cells, alone):
    with ThreadPoolExecutor(2) as executor:
        same(solve_ensemble(network, rates, cells, TIMES, executor=executor, **HOW), alone)


def test_reference_trajectories_by_workers(network, cells, spawned):
    k = network.rates()
    here = jaxchem.generate(network, k, cells[:3], TIMES, progress=False)
    there = jaxchem.generate(network, k, cells[:3], TIMES, executor=spawned, progress=False)
    assert there.identical(here)


def test_shares_fill_one_store(network, rates, cells, alone, tmp_path):
    first = solve_ensemble(network, rates, cells, TIMES, store=tmp_path, share=(0, 2), **HOW)
    elsewhere = ensemble.FAILURES.index("elsewhere")
    assert set(first.result) == {0, elsewhere}
    assert np.sum(first.result == 0) == 3 * 19
    second = solve_ensemble(network, rates, cells, TIMES, store=tmp_path, share=(1, 2), **HOW)
    same(second, alone)
    np.testing.assert_array_equal(stored(tmp_path, alone.ys.shape), alone.ys)


def test_data_of_shares(tmp_path):
    network = jaxchem.load("osu29")
    y0 = np.tile(np.asarray(network.y0({"H2": 0.5, "CO": 1e-4})), (4, 1))
    given = {"temperature": np.array([10.0, 15.0, 20.0, 25.0]), "cosmic_ray_rate": 1.3e-17}
    how = {"store": tmp_path / "store", "chunk": 1, "progress": False}
    part, failed = generate_ensemble(network, y0, given, TIMES, share=(1, 2), **how)
    assert part.sizes["case"] == 2 and not len(failed)
    np.testing.assert_array_equal(part["given"].sel(condition="temperature"), [15.0, 25.0])
    whole, failed = generate_ensemble(network, y0, given, TIMES, **how)
    assert whole.sizes["case"] == 4 and not len(failed)
    here, _ = generate_ensemble(network, y0, given, TIMES, chunk=1, progress=False)
    np.testing.assert_array_equal(whole["concentration"], here["concentration"])


@pytest.mark.parametrize("share", [(2, 2), (-1, 2), (0, 0), (0.5, 2), "ab", 3, (True, 2)])
def test_no_share(network, rates, cells, tmp_path, share):
    with pytest.raises(ValueError, match=r"share=.*\(rank, count\), two whole numbers"):
        solve_ensemble(network, rates, cells, TIMES, store=tmp_path, share=share, **HOW)


def test_a_share_wants_a_store(network, rates, cells):
    with pytest.raises(ValueError, match=r"share=.* wants store=FOLDER"):
        solve_ensemble(network, rates, cells, TIMES, share=(0, 2), **HOW)


def test_executors_that_cannot_be(network, rates, cells):
    forks = ProcessPoolExecutor(1, get_context("fork"))  # which begins none before there is work
    with pytest.raises(ValueError, match=r"begin by fork.*spawn"):
        solve_ensemble(network, rates, cells, TIMES, executor=forks, **HOW)
    with pytest.raises(ValueError, match="has no submit"):
        solve_ensemble(network, rates, cells, TIMES, executor=2, **HOW)


def test_a_worker_writes_nothing_into_a_store_of_another(network, rates, cells, tmp_path):
    class Late:
        """Gives tasks to the one worker only when the folder is another ensemble's."""

        mine = True

        def submit(self, work, *given):
            if self.mine:
                (tmp_path / "store.json").unlink()
                jaxchem.Store(tmp_path).begin("another", 5)
                self.mine = False
            return pool.submit(work, *given)

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="of another ensemble by"):
        solve_ensemble(network, rates, cells, TIMES, executor=Late(), store=tmp_path, **HOW)
    assert not list(tmp_path.glob("*.nc"))


def test_the_page_on_clusters_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()
    script = page.split("```python\n")[1].split("```")[0]
    assert "cells = 100_000" in script and "chunk=200" in script
    for many, few in (("100_000", "6"), ("chunk=200", "chunk=2"), (", 100)", ", 3)")):
        script = script.replace(many, few)
    for rank in range(2):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        monkeypatch.setenv("SLURM_NTASKS", "2")
        monkeypatch.chdir(tmp_path)
        exec(compile(script, "cluster.md", "exec"), {})
    assert [len(part["cell"]) for part in jaxchem.Store(tmp_path / "clouds")] == [2, 2, 2]


def _ends(shared, number):
    if number == shared:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_lost_worker_is_told():
    lost = pytest.raises(workers.Lost, match=r"a worker was lost.*new executor")
    with workers.pool(1) as executor, lost:
        list(workers.mapped(executor, _ends, 1, [(0,), (1,), (2,)]))


DASK = """
import os, signal, sys
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import jaxchem

if __name__ == "__main__":
    from distributed import Client, LocalCluster

    network, rng = jaxchem.load("robertson"), np.random.default_rng(0)
    y0 = np.concatenate([rng.uniform(0.5, 1.5, (400, 1)), np.zeros((400, 2))], axis=1)
    ts, how = np.geomspace(1.0, 1e5, 20), {"chunk": 10, "progress": False}
    k = network.rates()
    alone = jaxchem.solve_ensemble(network, k, y0, ts, **how)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as cluster, Client(cluster) as client:
        before = set(client.run(os.getpid).values())
        victim, put = min(before), jaxchem.Store.put
        seen = []

        class Executor:  # Dask's, which kills a worker after five chunks
            def __init__(self, inner):
                self.inner = inner

            def submit(self, *given):
                future = self.inner.submit(*given)
                future.add_done_callback(self.count)
                return future

            def count(self, future):
                seen.append(future)
                if len(seen) == 5:
                    os.kill(victim, signal.SIGKILL)

        executor = Executor(client.get_executor())
        how = {"executor": executor, "store": sys.argv[1], **how}
        found = jaxchem.solve_ensemble(network, k, y0, ts, **how)
        after = set(client.run(os.getpid).values())
    ys = np.full(alone.ys.shape, np.nan)
    for chunk in jaxchem.Store(sys.argv[1]):
        ys[chunk["cell"].values] = chunk["concentration"].values
    assert victim not in after and len(after) == 2, (before, after)
    np.testing.assert_array_equal(ys, alone.ys)
    for name in ("result", "steps", "retried"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
    print("alike")
"""


def test_dask_goes_on_without_a_worker_that_was_killed(tmp_path):
    pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text(DASK)
    told = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    assert told.returncode == 0 and "alike" in told.stdout, told.stderr[-3000:]


@pytest.mark.parametrize("given", ["0", "two", "-1", "1.5"])
def test_threads_that_cannot_be(monkeypatch, given):
    monkeypatch.setenv("JAXCHEM_THREADS", given)
    network = jaxchem.load("robertson")
    with pytest.raises(ValueError, match=f"JAXCHEM_THREADS={given}: give a whole number"):
        jaxchem.solve(network, network.rates(), network.y0({"A": 1.0}), TIMES)


@pytest.mark.parametrize("given", [0, -1, True, 1.5, "", ["a"]])
def test_settings_that_mean_no_executor(given):
    with pytest.raises(ValueError, match=r"data\.executor=.*a number of processes"):
        workers.check_setting(given)


def test_no_scheduler(tmp_path):
    pytest.importorskip("distributed")
    with (
        pytest.raises(ValueError, match=r"no Dask scheduler answers there"),
        workers.opened(str(tmp_path / "none.json")),
    ):
        pass
