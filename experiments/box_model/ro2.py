"""What it costs to take peroxy radicals from the last step, as KPP's MCM exports do.

    python experiments/box_model/ro2.py second.def reference.npz

`second.def` is a mechanism of the MCM under the conditions of `reference.npz` (time_s, species,
conc), here ARCA's SimpleChem at 298 K. Each tolerance is solved twice by one method: with RO2 from
the state of every stage and its part of the Jacobian, and with RO2 from the beginning of the step
and without that part. Errors are relative, with a floor of 1e6 molecule cm-3.
"""

import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import jaxchem
from jaxchem.parse import table
from jaxchem.solvers.rosenbrock import Rodas3

AIR = 2.5e19
PPB = {"O3": 40, "NO2": 1, "NO": 0.2, "CO": 120, "SO2": 0.2, "APINENE": 0.5, "HCHO": 1, "H2": 500}


def zenith(t):
    return jnp.minimum(jnp.deg2rad(89.5), jnp.abs(2 * jnp.pi * t / 86400 - jnp.pi))


def rates(network, t, **more):
    given = {"O2": 0.21 * AIR, "N2": 0.78 * AIR, "H2O": 0.01 * AIR, "RES1": 1e-3, **more}
    return network.rates(
        temperature=298.0, density=AIR, solar_zenith_angle=zenith(t), quantities=given
    )


def without_pool(network):
    """The same network, RO2 a quantity: the table format is text, and easily changed."""
    lines = table.dumps(network).splitlines()
    start = lines.index("[pools]")
    lines[start : start + 2] = []
    place = lines.index("[quantities]")
    return table.loads("\n".join([*lines[: place + 1], "RO2 = ?", *lines[place + 1 :]]))


class Lagged(Rodas3):
    """RO2 as it was at the beginning of the step."""

    network: jaxchem.Network | None = None
    members: np.ndarray | None = None

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        radicals = y0 @ jnp.asarray(self.members)

        def k(t):
            return rates(self.network, t, RO2=radicals)

        frozen = Rodas3(
            jacobian=lambda t, y, args: jaxchem.jacobian(self.network, k(t), y),
        )
        field = diffrax.ODETerm(lambda t, y, args: jaxchem.tendency(self.network, k(t), y))
        return frozen.step(field, t0, t1, y0, args, solver_state, made_jump)


def main(mechanism: str, reference: str) -> None:
    jax.config.update("jax_enable_x64", True)
    network = jaxchem.load(mechanism)
    data = np.load(reference)
    y0 = network.y0({n: v * 1e-9 * AIR for n, v in PPB.items()})
    ts = jnp.asarray(data["time_s"])
    names = [n for n in network.species if n in data["species"]]
    rows = [network.index(n) for n in names]
    expected = data["conc"][1:, [list(data["species"]).index(n) for n in names]]
    exact = Rodas3(jacobian=lambda t, y, args: jaxchem.jacobian(network, rates(network, t), y))
    lagged = Lagged(network=without_pool(network), members=network.structure.pools[0])
    field = diffrax.ODETerm(lambda t, y, args: jaxchem.tendency(network, rates(network, t), y))

    def solve(solver, rtol):
        return diffrax.diffeqsolve(
            field,
            solver,
            ts[0],
            ts[-1],
            None,
            y0,
            saveat=diffrax.SaveAt(ts=ts[1:]),
            stepsize_controller=diffrax.ClipStepSizeController(
                diffrax.PIDController(rtol=rtol, atol=1e-3), step_ts=ts[1:]
            ),
            max_steps=200_000,
        )

    print("| RO2 | rtol | steps | largest error | rms |\n|---|---|---|---|---|")
    for name, solver in (("of the state", exact), ("of the last step", lagged)):
        run = jax.jit(lambda rtol, solver=solver: solve(solver, rtol))
        for rtol in (1e-3, 1e-4, 1e-5, 1e-6):
            found = run(rtol)
            error = np.abs(found.ys[:, rows] - expected) / (np.abs(expected) + 1e6)
            steps = int(found.stats["num_steps"])
            rms = np.sqrt(np.mean(error**2))
            print(f"| {name} | {rtol:g} | {steps} | {error.max():.1e} | {rms:.1e} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
