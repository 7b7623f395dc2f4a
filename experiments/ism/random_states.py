"""One network a cloud, trained on its equations alone, for random gas of eq. 19.

    python experiments/ism/random_states.py ism_molecular 20

Branca & Pallottini (2022, doi:10.1093/mnras/stac3512). Quantiles of log10 of the relative error at
121 times from 1 to 10^6 years against SciPy's Radau at a relative tolerance of 1e-9 (where gas
rests on a switch a tighter one does not come to an end), densities above 1e-18 cm-3.
"""

import sys

import jax
import numpy as np

import jaxchem
from jaxchem.learned import predicted, quantiles, reference
from jaxchem.physics import Equations, march
from jaxchem.thermal import Cloud, random_states
from jaxchem.train import Job

jax.config.update("jax_enable_x64", True)


def main() -> None:
    name, count = sys.argv[1], int(sys.argv[2])
    cloud = Cloud(jaxchem.load(name), metals=sys.argv[3] if len(sys.argv) > 3 else None)
    equations, ts = Equations.of_cloud(cloud), 365 * 86400.0 * np.geomspace(1.0, 1e6, 121)
    print("| state | T at the start, K | q50 | q75 | q90 | max | windows | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for n, y0 in enumerate(random_states(cloud.network, count, seed=7)):
        try:
            model, history = march(
                equations, y0, ts[-1], key=jax.random.key(0), job=Job(progress=False)
            )
        except ValueError as error:
            print(f"| {n} | {y0[-1]:.4g} | {error} | | | | | |", flush=True)
            continue
        truth = reference(equations.system, y0, ts, rtol=1e-9, atol=1e-22)
        errors = np.log10(np.abs(predicted(model, y0, ts) / truth - 1) + 1e-17)
        found = quantiles(errors[truth > 1e-18])
        row = " | ".join(f"{value:.2f}" for value in found.values())
        spent = f"{len(history['loss'])} | {history['cpu_s'][0]:.1f}"
        print(f"| {n} | {y0[-1]:.4g} | {row} | {spent} |", flush=True)


if __name__ == "__main__":
    main()
