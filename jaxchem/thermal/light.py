"""Rates and heats of photo-reactions from a spectrum and cross sections."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .constants import ELECTRON_VOLT, HABING, PLANCK

__all__ = ["ENERGIES", "Light", "Spectrum", "table", "verner"]

ENERGIES = {
    "light_H": 1.3888302781531358e-25 / 2.2409656646294057e-14,
    "light_He": 1.5926085944820079e-25 / 1.1347372747282993e-14,
    "light_He_ion": 1.8336655336622289e-26 / 5.485650662579944e-16,
    "light_H_anion": 1.5411430758826770e-21 / 1.0681181828382746e-9,
    "light_H2": 2.2530434674410369e-25 / 3.3684289139198766e-14,
    "light_H2_ion": 4.2792307348453352e-24 / 4.488009875761309e-13,
    "light_H2_ion_twice": 1.0818916936893611e-26 / 7.130939062605107e-16,
    "light_H2_direct": 2.7218991221198108e-27 / 3.408317228365749e-15,
}
"""erg that an event leaves as heat, by the name of its rate, under the light that the networks are
of: the background of Haardt & Madau (2012, doi:10.1088/0004-637X/746/2/125) at redshift 0, with
KROME's bins. `Light.of` that background is within 1 per cent of closed forms and 12 of tables, but
has 1.6 times the rate of H-, as those bins leave out infrared light."""


class Spectrum(NamedTuple):
    """The mean intensity of light; between its energies the logarithm is linear in the logarithm.

    Attributes:
        energies: eV, rising.
        intensities: eV s-1 cm-2 Hz-1 sr-1.
    """

    energies: Float[np.ndarray, " E"]
    intensities: Float[np.ndarray, " E"]

    @classmethod
    def read(cls, path: str | Path) -> "Spectrum":
        """A file with a row of eV and eV s-1 cm-2 Hz-1 sr-1 for each energy; ``#`` comments.

        Raises:
            ValueError: the file is missing, a row is no such pair, energies that do not rise, that
                leave a gap of more than half a decade, or that look like other units.
        """
        energies, intensities = _rows(path, "a spectrum")
        if energies[0] > 13.6 or energies[-1] < 24.6:
            raise ValueError(
                f"{path}: a spectrum from {energies[0]:.3g} to {energies[-1]:.3g} does not cover "
                "13.6 to 24.6 eV, which ionise hydrogen and helium; its first column is eV, not "
                "Angstrom, Hz or erg."
            )
        wide = np.flatnonzero(np.diff(np.log10(energies)) > 0.5)
        if len(wide):
            low, high = energies[wide[0] : wide[0] + 2]
            raise ValueError(f"{path}: the spectrum has a gap from {low:.4g} to {high:.4g} eV.")
        if not 1e-40 < np.max(intensities) < 1.0:
            raise ValueError(
                f"{path}: intensities up to {np.max(intensities):.3g}; the second column is eV s-1 "
                "cm-2 Hz-1 sr-1, of which starlight has 1e-8 or so at 1 eV."
            )
        return cls(energies, intensities)

    def at(self, energy: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Intensities at some energies [eV]; none beyond the ends."""
        known = np.log10(self.energies), np.log10(np.maximum(self.intensities, 1e-99))
        found = 10.0 ** np.interp(np.log10(energy), *known)
        return np.where((energy < self.energies[0]) | (energy > self.energies[-1]), 0.0, found)


def verner(
    threshold: float,
    e0: float,
    s0: float,
    ya: float,
    p: float,
    yw: float = 0.0,
    y0: float = 0.0,
    y1: float = 0.0,
) -> Callable[[Any], Any]:
    """Photo-ionisation, cm2 by eV (Verner et al. 1996, doi:10.1086/177435, eq. 1)."""

    def section(energy: Any) -> Any:
        x = energy / e0 - y0
        y = np.sqrt(x**2 + y1**2)
        value = ((x - 1) ** 2 + yw**2) * y ** (p / 2 - 5.5) * (1 + np.sqrt(y / ya)) ** (-p)
        return np.where((energy >= threshold) & (energy <= 5e4), 1e-18 * s0 * value, 0.0)

    return section


def table(path: str | Path) -> Callable[[Any], Any]:
    """A cross section from a file with a row of eV and cm2 for each energy; ``#`` comments.

    It is linear between its energies and zero beyond them.

    Raises:
        ValueError: the file is missing, or a row is no such pair.
    """
    energies, values = _rows(path, "a cross section")
    if np.max(values) > 1e-12:
        raise ValueError(f"{path}: a cross section up to {np.max(values):.3g}; give cm2.")

    def section(energy: Any) -> Any:
        return np.interp(energy, energies, values, left=0.0, right=0.0)

    return section


def twice_ionised(energy: Any) -> Any:
    """H2+ -> 2 H+ + e-, cm2 by eV (Shapiro & Kang 1987, ApJ 318, 32)."""
    e = np.clip(energy, 30.0, 90.0)
    power = -16.926 + e * (-4.528e-2 + e * (2.238e-4 + e * 4.245e-7))
    return np.where(energy == e, 10.0**power, 0.0)


def dissociated(energy: Any) -> Any:
    """H2 -> 2 H directly, 3:1 of ortho to para, cm2 by eV (Abel et al. 1997)."""
    e = energy

    def band(low: float, high: float, power: Any) -> Any:
        return np.where((e > low) & (e < high), 10.0 ** np.clip(power, -99.0, 9.0), 0.0)

    lyman = band(14.675, 16.820, 15.1289 - 1.05139 * e)
    lyman += band(16.820, 17.6, -31.41 + 1.8042e-2 * e**3 - 4.2339e-5 * e**5)
    werner = band(14.675, 17.7, 13.5311 - 0.9182618 * e)
    ortho = band(14.159, 15.302, 12.0218406 - 0.819429 * e)
    ortho += band(15.302, 17.2, 16.04644 - 1.082438 * e)
    ortho += band(14.159, 17.2, 12.87367 - 0.85088597 * e)
    return 1e-18 * (0.25 * (lyman + werner) + 0.75 * ortho)


CROSS_SECTIONS: dict[str, tuple[float, Callable[[Any], Any]]] = {
    "light_H": (13.60, verner(13.60, 0.4298, 5.475e4, 32.88, 2.963)),
    "light_He": (24.59, verner(24.59, 13.61, 949.2, 1.469, 3.188, 2.039, 0.4434, 2.136)),
    "light_He_ion": (54.42, verner(54.42, 1.720, 1.369e4, 32.88, 2.963)),
    "light_H2_ion_twice": (30.0, twice_ionised),
    "light_H2_direct": (14.159, dissociated),
}
"""Threshold [eV] and cross section [cm2 by eV] of each rate that has a closed form."""

THRESHOLDS = {"light_H_anion": 0.755, "light_H2": 15.4, "light_H2_ion": 2.65}
"""eV, of rates whose cross sections are tables."""


class Light(NamedTuple):
    """What light does to gas, unattenuated; `uv_field` multiplies all of it.

    Attributes:
        rates: s-1, by the name that networks have for it; what is not here is theirs.
        energies: erg that an event leaves as heat.
        habing: from 6 to 13.6 eV, over 1.6e-3 erg cm-2 s-1 (Habing 1968).
    """

    rates: Mapping[str, float] = {}
    energies: Mapping[str, float] = ENERGIES
    habing: float = HABING

    @classmethod
    def of(
        cls,
        spectrum: Spectrum | str | Path,
        tables: Mapping[str, str | Path] | None = None,
    ) -> "Light":
        """The light of a spectrum.

        A rate is (4 pi / h) times the integral of cross section and intensity over the energy's
        logarithm, and its heat is that of what exceeds the threshold. Lines of H2 are pumped by
        1.38e9 times the intensity at 12.87 eV in erg (Abel et al. 1997).

        Args:
            spectrum: of the light, or a file of `Spectrum.read`.
            tables: files of `table` by the name of the rate, for `light_H_anion`, `light_H2` and
                `light_H2_ion`, which have no closed form.

        Raises:
            ValueError: an unknown rate, or none of these three, or a bad file.
        """
        spectrum = spectrum if isinstance(spectrum, Spectrum) else Spectrum.read(spectrum)
        sections, tables = dict(CROSS_SECTIONS), dict(tables or {})
        for name in tables:
            if name not in ENERGIES:
                raise ValueError(f"no rate is called {name!r}; known: {', '.join(ENERGIES)}.")
            threshold = THRESHOLDS[name] if name in THRESHOLDS else CROSS_SECTIONS[name][0]
            sections[name] = threshold, table(tables[name])
        for name in THRESHOLDS:
            if name not in sections:
                raise ValueError(
                    f"{name} has no closed form: give its cross section, tables={{{name!r}: FILE}}."
                )
        rates, energies = {}, {}
        for name, (threshold, section) in sections.items():
            energy = np.geomspace(threshold, max(spectrum.energies[-1], 2 * threshold), 20_001)
            absorbed = 4 * np.pi / PLANCK * section(energy) * spectrum.at(energy)
            rate = np.trapezoid(absorbed, np.log(energy))
            heat = np.trapezoid(absorbed * (energy - threshold), np.log(energy))
            rates[name] = float(rate)
            energies[name] = float(heat / rate) * ELECTRON_VOLT if rate > 0 else 0.0
        pumped = float(spectrum.at(np.array([12.87]))[0]) * ELECTRON_VOLT
        rates["light_H2_lines"] = 1.38e9 * pumped
        energy = np.geomspace(6.0, 13.6, 2001)
        ultraviolet = np.trapezoid(spectrum.at(energy) * energy, np.log(energy))
        habing = 4 * np.pi / PLANCK * ELECTRON_VOLT / 1.6e-3 * float(ultraviolet)
        return cls(rates, energies, habing)


def _rows(path: str | Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of a file, of positive energies that rise."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what} is to be read from {path}, which is not there.")
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        where = f"{path}, line {number}"
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise ValueError(f"{where}: {line.strip()!r} is no row of numbers.") from None
        if len(row) != 2 or not np.all(np.isfinite(row)) or row[0] <= 0 or row[1] < 0:
            raise ValueError(f"{where}: want an energy [eV] and a value, got {line.strip()!r}.")
        if rows and row[0] <= rows[-1][0]:
            raise ValueError(f"{where}: energies rise, but {row[0]:g} follows {rows[-1][0]:g}.")
        rows.append(row)
    if len(rows) < 2:
        raise ValueError(f"{path}: {what} has two rows or more.")
    values = np.array(rows)
    return values[:, 0], values[:, 1]
