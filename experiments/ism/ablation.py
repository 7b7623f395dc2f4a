"""The published recipe against each change of it alone, at equal CPU time.

    python experiments/ism/ablation.py ism_atomic 60 [METAL_TABLE]

One cloud as of `+experiment=ism_single`: each row has so many seconds of CPU after compilation, of
which a twentieth as many steps of L-BFGS as of the optimiser; a table, and ablation.png with the
share of relative errors below a size. Truth is SciPy's Radau at 1e-11.
"""

import sys
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxchem
from jaxchem.clouds import begin
from jaxchem.learned import predicted, quantiles, reference
from jaxchem.physics import Equations, march
from jaxchem.published import train_galerkin
from jaxchem.train import Job

jax.config.update("jax_enable_x64", True)

CHANGES: dict[str, dict[str, Any]] = {
    "as published": {},
    "hard initial condition": {"hard": True},
    "exact elements and charge": {"exact": True},
    "scaled residual": {"scaled": True},
    "hard, exact and scaled": {"hard": True, "exact": True, "scaled": True},
    "perceptron": {"deep": False},
    "fixed slopes": {"adaptive": False},
    "fixed weights": {"weighted": False},
    "linear time": {"linear": True},
    "SOAP": {"optimizer": "soap"},
    "without L-BFGS": {"polish": 0},
}
PILOT, QUIET = 40, Job(progress=False)


def train(equations: Equations, y0: Any, ts: Any, change: dict[str, Any], budget: float) -> Any:
    """A network that had its share of time, and the steps that this was."""

    def run(steps: int) -> Any:
        how = {"points": 256, "polish": steps // 20, "key": jax.random.key(0), "job": QUIET}
        span = (ts[0] / 10, ts[-1])
        return train_galerkin(equations, y0[None], span, steps=steps, **{**how, **change})

    costs = [float(run(steps)[1]["cpu_s"][0]) for steps in (PILOT, 3 * PILOT)]
    steps = max(PILOT, int(2 * PILOT * budget / max(costs[1] - costs[0], 0.1)))
    return run(steps)[0], steps


def main() -> None:
    name, budget = sys.argv[1], float(sys.argv[2])
    table = sys.argv[3] if len(sys.argv) > 3 else None
    cloud, y0, ts = begin(jaxchem.load(name), temperature=1000.0, metal_table=table)
    equations = Equations.of_cloud(cloud)
    truth = reference(cloud.system, y0, ts, atol=1e-24)
    known = truth > 1e-18
    figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
    print(f"| {name}, {budget:g} CPU s | steps | q50 | q75 | q90 | max |")
    print("|---|---|---|---|---|---|")

    def told(label: str, model: Any, steps: int) -> None:
        errors = np.log10(np.abs(predicted(model, y0, ts) / truth - 1) + 1e-17)[known]
        row = " | ".join(f"{value:.2f}" for value in quantiles(errors).values())
        print(f"| {label} | {steps} | {row} |", flush=True)
        ax.plot(np.sort(errors), np.linspace(0, 1, errors.size), lw=1, label=label)

    for label, change in CHANGES.items():
        told(label, *train(equations, y0, ts, change, budget))
    model, history = march(equations, y0, float(ts[-1]), key=jax.random.key(0), job=QUIET)
    spent = float(history["cpu_s"][0])
    label = f"windows, Gauss-Newton ({spent:.1f} CPU s)"
    told(label, model, int(history["iterations"].sum()))
    ax.set(xlabel="log$_{10}$ relative error", ylabel="share below", title=name)
    ax.legend(fontsize="small")
    figure.savefig("ablation.png", dpi=150)


if __name__ == "__main__":
    main()
