"""Settings that every test runs under: 64 bit, no silent broadcasting, no silent promotion."""

import hypothesis
import jax
import pytest

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
