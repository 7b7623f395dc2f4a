"""The published trajectories of Sulzer & Buck as NetCDF, with their initial states at t = 1 s.

    python experiments/emulators/published.py dataset.npz published.nc

`dataset.npz` holds log10n [case, time, species] and t_s of the files in
github.com/Immi000/ChemicalNeuralODE, and the initial n_C0, n_Cp0, n_O0 [cm-3]; all other species
start at 1e-20 of the density, H2 at 1e4 cm-3, and electrons balance the cations.
"""

import sys

import numpy as np

import jaxchem


def main() -> None:
    source, target = sys.argv[1:]
    data, network = np.load(source), jaxchem.load("osu29")
    if tuple(data["species"]) != network.species:
        raise ValueError(f"{source}: its species are not those of {network.name}, in their order.")
    y0 = np.full((len(data["n_C0"]), len(network.species)), 1e-16)
    y0[:, network.index("H2")] = 1e4
    for name, key in (("C", "n_C0"), ("C+", "n_Cp0"), ("O", "n_O0")):
        y0[:, network.index(name)] = data[key]
    cations = [i for i, name in enumerate(network.species) if name.endswith("+")]
    y0[:, network.index("e")] = y0[:, cations].sum(axis=1)
    dataset = jaxchem.to_dataset(
        network,
        (data["t_s"], 10.0 ** data["log10n"].astype(float)),
        y0=y0,
        t0=1.0,
        provenance="Sulzer & Buck 2023 (arXiv:2312.06015), github.com/Immi000/ChemicalNeuralODE",
    )
    jaxchem.write(dataset, target)


if __name__ == "__main__":
    main()
