"""What the method of integration does to a step of fine-tuning: loss, gradient and time.

The batch is that of the published recipe on AOXID: 64 windows of 20 points, tolerances 1e-6 and
1e-3, from coefficients that are off by a factor of e^0.8 as after its second stage at best, or
e^3. Compared are Kvaerno's method, which the recipe names, and Rosenbrock methods.

    python experiments/spin_ode/methods.py aoxid_paper.npz
"""

import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import jaxchem  # noqa: E402
from jaxchem import losses  # noqa: E402
from jaxchem.models import CRNN  # noqa: E402
from jaxchem.models.integrated import integrate  # noqa: E402
from jaxchem.scale import span  # noqa: E402
from jaxchem.stages.base import windows  # noqa: E402


def main(path: Path) -> None:
    """Prints a row a method: loss, distance of the gradient from the first's, seconds."""
    network = jaxchem.load("aoxid")
    data = jaxchem.observe(jaxchem.read(path, network), network)
    ts, states, none = windows(data, 20, 10)
    order = np.random.default_rng(0).permutation(len(ts))[:64]
    ts, states, none = ts[order], states[order], none[order]
    scale = span(data.states)[1]
    log_k = jnp.log(network.rates(temperature=270.0))
    change = jax.random.normal(jax.random.key(1), log_k.shape)
    paper = jaxchem.Integrator(
        method="kvaerno3", rtol=1e-6, atol=1e-3, dt0=2e-4, max_steps=8192, output="interpolate"
    )
    print("| ln k off by | method | loss | gradient differs by | s |")
    print("|---|---|---|---|---|")
    for off in (0.8, 3.0):
        reference = None
        for method in ("kvaerno3", "rodas3", "rodas4"):
            output = paper.output if method == paper.method else "step"
            how = paper.replace(method=method, output=output)

            def loss(log_k: jax.Array, how: jaxchem.Integrator = how) -> jax.Array:
                model = CRNN(network, log_k)
                sequential = how.method == paper.method
                found, good = integrate(
                    model, how, states[:, 0], ts[:, 1:], none, ts[:, 0], sequential=sequential
                )
                return losses.scaled_mse(found, states[:, 1:], scale, good)

            evaluate = eqx.filter_jit(jax.value_and_grad(loss))
            at = log_k + off * change
            jax.block_until_ready(evaluate(at))
            begin = time.perf_counter()
            value, gradient = jax.block_until_ready(evaluate(at))
            seconds = time.perf_counter() - begin
            reference = gradient if reference is None else reference
            apart = float(jnp.linalg.norm(gradient - reference) / jnp.linalg.norm(reference))
            print(f"| {off:g} | {method} | {float(value):.7g} | {apart:.1e} | {seconds:.3g} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
