"""Initial states and conditions over declared ranges."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float

from ..network import Network

__all__ = ["dark_cloud", "draw"]

Range = float | Sequence[float]


def draw(
    ranges: Mapping[str, Range], *, cases: int, seed: int = 0
) -> dict[str, Float[np.ndarray, " case"]]:
    """Quantities that are spread evenly in their logarithm, together, by a Sobol sequence.

    Args:
        ranges: name -> a number, or the pair of smallest and largest value, both positive.
        cases: how many draws of each.
        seed: of the scrambling.

    Raises:
        ValueError: a range that is none, or no case.
    """
    if cases < 1:
        raise ValueError(f"cases={cases}: draw one case at least.")
    varied = {name: np.ravel(r).astype(float) for name, r in ranges.items() if np.size(r) > 1}
    for name, limits in varied.items():
        if len(limits) != 2 or not 0 < limits[0] < limits[1]:
            raise ValueError(f"{name}: {limits.tolist()} is no range; give 0 < smallest < largest.")
    fixed = {name: float(np.squeeze(r)) for name, r in ranges.items() if name not in varied}
    values = {name: np.full(cases, value) for name, value in fixed.items()}
    if varied:
        engine = scipy.stats.qmc.Sobol(len(varied), rng=np.random.default_rng(seed))
        # a Sobol sequence is balanced in powers of two
        unit = engine.random_base2(int(np.ceil(np.log2(cases))))[:cases]
        for (name, (low, high)), column in zip(varied.items(), unit.T, strict=True):
            values[name] = 10.0 ** (np.log10(low) + column * np.log10(high / low))
    return values


def dark_cloud(
    network: Network,
    *,
    cases: int,
    seed: int = 0,
    temperature: Range = 50.0,
    density: Range = 1e4,
    cosmic_ray_rate: Range = 1e-16,
    carbon: Range = (1e-6, 1e-4),
    carbon_ion: Range = (1e-6, 1e-4),
    oxygen_ratio: Range = 4.0,
    background: float = 1e-20,
    reference: Mapping[str, Any] | None = None,
) -> tuple[Float[np.ndarray, "case S"], dict[str, Float[np.ndarray, " case"]]]:
    """Initial states of dark clouds as of Sulzer & Buck (2023, arXiv:2312.06015), varied.

    H2 has the whole density, O is `oxygen_ratio` times C and C+ together, every other species has
    the background, and electrons balance the cations.

    Args:
        network: has C, C+, O, H2 and e.
        cases: how many clouds.
        seed: of the draws.
        temperature: [K]; like all others a number, or a range that is drawn from.
        density: total number density [cm-3].
        cosmic_ray_rate: ionisation rate [s-1].
        carbon: n_C over the density.
        carbon_ion: n_C+ over the density.
        oxygen_ratio: oxygen nuclei per carbon nucleus.
        background: of all other species, over the density.
        reference: turn each cloud into the similar one in which a product of conditions has this
            `value`: name -> `exponents` (see `jaxchem.models.Similar`). Times then are of that one
            too.

    Returns:
        Number densities [case, S], and the conditions `temperature`, `cosmic_ray_rate` and
        `density` by name.
    """
    values = draw(
        {
            **{"temperature": temperature, "density": density},
            **{"cosmic_ray_rate": cosmic_ray_rate, "carbon": carbon},
            **{"carbon_ion": carbon_ion, "oxygen_ratio": oxygen_ratio},
        },
        cases=cases,
        seed=seed,
    )
    if reference is not None:
        powers = reference["exponents"]
        ratio = reference["value"] / np.prod([values[n] ** e for n, e in powers.items()], axis=0)
        values |= {name: values[name] * ratio for name in powers}
    total = values["density"]
    y0 = np.tile(background * total[:, None], (1, len(network.species)))
    for name, amount in {
        "H2": np.ones(cases),
        "C": values["carbon"],
        "C+": values["carbon_ion"],
        "O": (values["carbon"] + values["carbon_ion"]) * values["oxygen_ratio"],
    }.items():
        y0[:, network.index(name)] = amount * total
    charge = np.asarray(network.composition)[network.elements.index("charge")]
    y0[:, network.index("e")] = y0[:, charge > 0] @ charge[charge > 0]
    names = ("temperature", "cosmic_ray_rate", "density")
    return y0, {name: values[name] for name in names}
