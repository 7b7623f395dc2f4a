"""Gas of many kinds, to train and to test on."""

import numpy as np
import scipy
from jaxtyping import Float

from ..formula import CHARGE
from ..network import Network

__all__ = ["random_states"]


def random_states(
    network: Network,
    count: int,
    *,
    seed: int = 0,
    temperature: tuple[float, float] = (20.0, 1e6),
    density: tuple[float, float] = (1e-2, 1e3),
    helium: float = 0.3,
    least: float = 1e-5,
) -> Float[np.ndarray, "N S+1"]:
    """Neutral gas of hydrogen and helium as eq. 19 of Branca & Pallottini (2022) has it.

    Temperatures, densities and the weights of the carriers of each element are even in their
    logarithms, by scrambled Halton points; what would want a negative density of electrons is
    left out.

    Args:
        network: H, He and electrons in whatever species.
        count: states.
        seed: of the points.
        temperature: lowest and highest, K.
        density: of hydrogen and helium nuclei, lowest and highest, cm-3.
        helium: share of helium in the nuclei.
        least: the smallest weight of a species among those of its element, relative to the largest.

    Raises:
        ValueError: a network of other elements, or a range that is none.
    """
    if {*network.elements} - {"H", "He", CHARGE} or "e-" not in network.species:
        raise ValueError(f"network {network.name!r} is not one of H, He and electrons.")
    for name, given in (("temperature", temperature), ("density", density)):
        ends = np.ravel(np.asarray(np.nan if given is None else given, float))
        if len(ends) != 2 or not 0 < ends[0] < ends[1] < np.inf:
            raise ValueError(f"{name}={given}: give a range as [low, high], the lower end first.")
    rows = {name: network.composition[network.elements.index(name)] for name in ("H", "He")}
    charges = network.composition[network.elements.index(CHARGE)]
    electron = network.index("e-")
    points = scipy.stats.qmc.Halton(len(network.species) + 1, rng=np.random.default_rng(seed))
    found: list[np.ndarray] = []
    while sum(map(len, found)) < count:
        u = points.random(count)
        total = density[0] * (density[1] / density[0]) ** u[:, -1]
        weights = least ** u[:, :-1]
        y = np.zeros((count, len(network.species) + 1))
        for name, share in (("H", 1 - helium), ("He", helium)):
            nuclei = weights * rows[name]
            y[:, :-1] += weights * (rows[name] > 0) * (share * total / nuclei.sum(axis=1))[:, None]
        y[:, electron] = y[:, :-1] @ charges
        y[:, -1] = temperature[0] * (temperature[1] / temperature[0]) ** u[:, electron]
        found.append(y[y[:, electron] > 0])
    return np.concatenate(found)[:count]
