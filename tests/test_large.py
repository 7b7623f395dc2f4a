"""Networks of hundreds and thousands of species against other codes."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from problems import dark_cloud, saprc99
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem.network import Network, Reaction, Units


def decades(ys, expected, floor):
    """|log10 ours - log10 theirs| where theirs is above the floor."""
    above = expected > floor
    return np.abs(np.log10(np.maximum(np.asarray(ys)[above], 1e-300)) - np.log10(expected[above]))


@pytest.mark.parametrize("method", ["rodas4", "rodas5p"])
def test_dark_cloud_against_krome(method):
    """452 species and 4429 reactions over 1e8 years; species above 1e-12 of the hydrogen nuclei."""
    network, y0, ts, expected, density = dark_cloud()
    k = network.rates()
    solution = jaxchem.solve(network, k, y0, ts, rtol=1e-6, atol=1e-20, method=method)
    assert decades(solution.ys, expected, 1e-12 * density).max() <= 1e-5


def test_saprc99_against_kpp():
    """74 species over a day at the rates of noon; species above 1e6 molecule cm-3."""
    network, y0, ts, expected = saprc99()
    k, how = network.rates(), {"rtol": 1e-7, "atol": 1e-3}
    ys = jaxchem.solve(network, k, y0, ts[1:] - ts[0], **how).ys
    above = expected[1:] > 1e6
    np.testing.assert_allclose(np.asarray(ys)[above], expected[1:][above], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("problem", [dark_cloud, saprc99])
def test_no_cell_fails(problem):
    """Every initial abundance off by up to two decades, 1000 times."""
    network, y0, ts, *_ = problem()
    random = np.random.default_rng(0)
    cells = y0 * 10.0 ** random.uniform(-2, 2, (1000, len(y0)))
    atol = 1e-20 if problem is dark_cloud else 1e-3
    found = jaxchem.solve_ensemble(
        network,
        network.rates(),
        cells,
        ts[1:] - ts[0] if problem is saprc99 else ts,
        rtol=1e-4,
        atol=atol,
        retries=(),
        progress=False,
    )
    assert not found.result.any()


def test_gradients_of_a_large_network():
    """Reverse mode by 4429 coefficients equals one forward direction."""
    network, y0, ts, *_ = dark_cloud()
    log_k = jnp.log(network.rates())
    co = network.index("CO")

    def end(log_k, adjoint):
        how = {"rtol": 1e-4, "atol": 1e-20, "adjoint": adjoint}
        return jnp.log(jaxchem.solve(network, jnp.exp(log_k), y0, ts[60:61], **how).ys[-1, co])

    gradient = jax.grad(lambda v: end(v, "reverse"))(log_k)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=log_k.shape))
    _, slope = jax.jvp(lambda v: end(v, "forward"), (log_k,), (direction,))
    assert float(jnp.vdot(gradient, direction)) == pytest.approx(float(slope), rel=1e-8)


def oxidation(count):
    """`count` volatile species, each oxidised by way of a peroxy radical of one pool."""
    random = np.random.default_rng(0)
    names = ["OH", "HO2", "NO", "NO2", "O3"]
    reactions = [
        Reaction({"NO": 1, "O3": 1}, {"NO2": 1}, 1.8e-14, ""),
        Reaction({"NO2": 1}, {"NO": 1, "O3": 1}, 8e-3, ""),
        Reaction({"O3": 1}, {"OH": 2}, 1e-5, ""),
        Reaction({"HO2": 1, "NO": 1}, {"OH": 1, "NO2": 1}, 8.5e-12, ""),
        Reaction({"HO2": 2}, {}, 2.8e-12, ""),
    ]
    for n in range(count):
        gas, radical = f"V{n}", f"V{n}O2"
        names += [gas, radical]
        a, b, c = 10 ** random.uniform(-0.5, 0.5, 3)
        then = {f"V{random.integers(n + 1, count)}": 1} if n + 1 < count else {}
        reactions += [
            Reaction({gas: 1, "OH": 1}, {radical: 1}, 2e-11 * a, ""),
            Reaction({radical: 1, "NO": 1}, {"HO2": 1, "NO2": 1, **then}, 9e-12 * b, ""),
            Reaction({radical: 1}, {"HO2": 1}, f"{float(6e-13 * c)!r} * RO2", ""),
        ]
    return Network.build(
        name="oxidation",
        species=dict.fromkeys(names),
        reactions=reactions,
        units=Units("molecule cm-3", "s"),
        pools={"RO2": [n for n in names if n.endswith("O2") and n.startswith("V")]},
    )


def test_thousands_of_species_against_scipy():
    """4005 species; nothing on the way to the end is a dense matrix of them."""
    tracemalloc.start()
    network = oxidation(2000)
    size = len(network.species)
    start = {"O3": 1e12, "NO": 2e10, "NO2": 8e10}
    start |= {f"V{n}": 1e9 for n in range(0, 2000, 7)}
    k, y0, ts = network.rates(), network.y0(start), jnp.array([600.0])
    found = np.asarray(jaxchem.solve(network, k, y0, ts, rtol=1e-7, atol=1e-2).ys[-1])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < size**2 * 8 / 2

    slots, net = network.structure.reactants, network.structure.stoichiometry
    pooled = network.structure.pool_of == 0
    members = [i for i, n in enumerate(network.species) if n.startswith("V") and n.endswith("O2")]
    rates = np.asarray(k)

    def parts(y):
        return rates * np.where(pooled, y[members].sum(), 1.0), np.append(y, 1.0)[slots]

    def field(t, y):
        each, factors = parts(y)
        return net @ (each * factors.prod(axis=1))

    def slope(t, y):  # without the pool's own derivative: Newton's iteration does without
        each, (first, second) = parts(y)[0], parts(y)[1].T
        terms = [(each * second, slots[:, 0]), (each * first, slots[:, 1])]
        reaction = np.arange(len(rates))
        shape = (len(rates), size + 1)
        flux = sum(sp.csr_array((v, (reaction, column)), shape) for v, column in terms)
        return (net @ flux[:, :size]).tocsc()

    truth = solve_ivp(
        field, (0, 600.0), np.asarray(y0), "BDF", [600.0], jac=slope, rtol=1e-9, atol=1e-3
    ).y[:, -1]
    assert decades(found, truth, 1e4).max() <= 1e-5
