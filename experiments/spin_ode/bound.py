"""What POLLU seen at t = 0 and t = 60 minutes can tell about its coefficients at best.

To first order the 20 concentrations see as many directions of ln k as their sensitivities have
rank; in the others an estimate is as far off as its start. With a start of 10 % that is a bound
on the mean of k_err over starts, which exact data do not lift.

    python experiments/spin_ode/bound.py
"""

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import jaxchem  # noqa: E402


def main() -> None:
    """Prints the singular values of d ln y / d ln k and the bound by error of the data."""
    network = jaxchem.load("pollu")
    start = {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007}
    integrator = jaxchem.Integrator(rtol=1e-10, adjoint="forward")

    def seen(log_k: jax.Array) -> jax.Array:
        k, ts = jnp.exp(log_k), jnp.array([60.0])
        solution = jaxchem.solve(network, k, network.y0(start), ts, integrator=integrator)
        return jnp.log(jnp.asarray(solution.ys)[0])

    slope = np.asarray(jax.jacfwd(seen)(jnp.log(network.rates())))
    values = np.linalg.svd(slope, compute_uv=False)
    print("singular values:", " ".join(f"{v:.2g}" for v in values))
    directions = np.zeros(slope.shape[1])
    directions[: len(values)] = values
    prior = np.log(1.1)
    for error in (1e-3, 1e-5, 1e-7):
        variance = 1.0 / (directions**2 / error**2 + prior**-2)
        print(f"data good to {error:g}: mean k_err >= {variance.mean():.3g}")


if __name__ == "__main__":
    main()
