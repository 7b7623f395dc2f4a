"""Lines of metals from a table over density and temperature."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .gas import Gas

__all__ = ["MetalLines"]


class MetalLines(eqx.Module):
    """Metals in equilibrium with collisions (Shen et al. 2013, doi:10.1088/0004-637X/765/2/89).

    Between nodes the logarithm is interpolated in both logarithms, and beyond the last it goes on
    as there.

    Attributes:
        density: log10 of hydrogen nuclei, cm-3, evenly spaced.
        temperature: log10 of K, evenly spaced.
        values: log10 of erg cm3 s-1 at solar metallicity, those of one density after another.
    """

    density: Float[np.ndarray, " N"]
    temperature: Float[np.ndarray, " T"]
    values: Float[np.ndarray, " N*T"]

    @classmethod
    def read(cls, path: str | Path) -> "MetalLines":
        """A file with a row of log10 density, log10 temperature and log10 value for each node.

        Raises:
            ValueError: the file is missing, or has no even grid.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"no table of metal lines at {path}; give metal_table=FILE.")
        rows = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            words = line.partition("#")[0].split()
            if len(words) in (0, 2):  # a comment, or the sizes that some tables begin with
                continue
            try:
                rows.append([float(word) for word in words])
            except ValueError:
                raise ValueError(f"{path}, line {number}: {line.strip()!r} is no number.") from None
            if len(words) != 3 or not np.all(np.isfinite(rows[-1])):
                raise ValueError(f"{path}, line {number}: want log10 density, temperature, value.")
        table = np.array(rows).reshape(-1, 3)
        nodes = [np.unique(table[:, n]) for n in (0, 1)]
        even = [len(x) > 1 and np.ptp(np.diff(x)) < 1e-4 for x in nodes]
        if len(table) != len(nodes[0]) * len(nodes[1]) or not all(even):
            raise ValueError(f"{path}: its nodes are no even grid of density and temperature.")
        return cls(nodes[0], nodes[1], table[np.lexsort((table[:, 1], table[:, 0])), 2])

    @classmethod
    def shipped(cls) -> "MetalLines":
        """A coarse grid: 0.005 dex from the table that it was sampled from, 0.16 dex at most."""
        return cls.read(Path(__file__).parents[1] / "data" / "metal_lines.dat")

    def places(self, gas: Gas) -> tuple[Any, Any]:
        """Where gas is in the table: log10 of hydrogen nuclei and of temperature."""
        return jnp.log10(gas.nuclei), jnp.log10(gas.temperature)

    def __call__(self, gas: Gas) -> Any:
        """What they cool, erg cm-3 s-1."""
        nuclei, (density, temperature) = gas.nuclei, self.places(gas)
        i, along = _place(self.density, density)
        j, across = _place(self.temperature, temperature)
        width, values = len(self.temperature), jnp.asarray(self.values)
        corner = i * width + j
        low = (1 - across) * values[corner] + across * values[corner + 1]
        high = (1 - across) * values[corner + width] + across * values[corner + width + 1]
        power = (1 - along) * low + along * high
        return gas.conditions["metallicity"] * nuclei**2 * 10.0**power


def _place(nodes: Float[np.ndarray, " n"], x: Any) -> tuple[Any, Any]:
    """The interval that x is in, or the nearest one, and how far along.

    The nodes are even to seven digits; KROME takes the first interval's length for all of them.
    """
    step = (nodes[-1] - nodes[0]) / (len(nodes) - 1)
    interval = jnp.floor((jax.lax.stop_gradient(x) - nodes[0]) / step)
    interval = jnp.clip(interval, 0, len(nodes) - 2).astype(int)
    return interval, (x - jnp.asarray(nodes)[interval]) / (nodes[1] - nodes[0])
