"""Settings that every test runs under: 64 bit, no silent broadcasting, no silent promotion."""

import atexit
import os
import shutil
import tempfile

# compiled programs are shared by the workers and by the command lines that tests start; the
# folder is new in each session, and JAX reads these variables when it is imported
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxchem-jit-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# most tests compile much and run little; JAX_DISABLE_MOST_OPTIMIZATIONS=0 runs them as users do
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# the workers share the processors already; threads of theirs that wait would spin
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import jax
import pytest

from jaxchem.solvers import native

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Compilation makes the first example slow; the same examples everywhere keep runs comparable.
hypothesis.settings.register_profile(
    "jaxchem",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("jaxchem")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than half a minute")


@pytest.fixture
def getkey():
    """A function that gives a fresh random key at each call, the same ones in every run."""
    state = {"key": jax.random.key(20261121)}

    def get():
        state["key"], key = jax.random.split(state["key"])
        return key

    return get


@pytest.fixture(params=["kernel", "plain"])
def engine(request, monkeypatch):
    """Runs a test with the compiled kernel, and once more in plain JAX."""
    if request.param == "kernel":
        if not native.available():
            pytest.skip("there is no C compiler")
        yield
        return
    jax.clear_caches()  # what is compiled already calls the kernel
    with monkeypatch.context() as patch:
        patch.setattr(native, "available", lambda: False)
        yield
    jax.clear_caches()
