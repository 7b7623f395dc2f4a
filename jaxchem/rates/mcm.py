"""Rate laws of the Master Chemical Mechanism: photolysis, water vapour, generic coefficients.

The figures are those of MCM v3.3.1 (Jenkin et al. 1997, Atmos. Environ. 31, 81,
doi:10.1016/S1352-2310(96)00105-7; Saunders et al. 2003, Atmos. Chem. Phys. 3, 161,
doi:10.5194/acp-3-161-2003; Jenkin et al. 2015, Atmos. Chem. Phys. 15, 11433,
doi:10.5194/acp-15-11433-2015; http://mcm.york.ac.uk). Exports of it in KPP's format take them
from a module that does not come with the export; they are here as expressions by the MCM's names.
"""

from collections.abc import Iterable

import jax.numpy as jnp
from jaxtyping import Array

from ..expression import Expression, names, parse
from ..suggest import closest
from .law import BOLTZMANN, law

__all__ = [
    "AIR",
    "COEFFICIENTS",
    "DEFINITIONS",
    "PHOTOLYSIS",
    "PHOTOLYSIS_NAMES",
    "definitions",
    "mcm_photolysis",
    "origin",
    "water_vapour",
]


@law
def mcm_photolysis(solar_zenith_angle: Array, /, scale: Array, m: Array, n: Array) -> Array:
    """scale cos(z)^m exp(-n / cos(z)) [s-1], and zero where the sun is below the horizon.

    For clear sky at 500 m (Jenkin et al. 1997; Saunders et al. 2003). Its
    derivative by the angle is finite everywhere.
    """
    cosine = jnp.cos(solar_zenith_angle)
    day = cosine > 0
    height = jnp.where(day, cosine, 1.0)
    return jnp.where(day, scale * height**m * jnp.exp(-n / height), 0.0)


@law
def water_vapour(temperature: Array, relative_humidity: Array, /) -> Array:
    """Number density of water vapour [molecule cm-3] at a humidity over liquid water.

    The saturation pressure is Murphy & Koop 2005, Q. J. R. Meteorol. Soc. 131, 1539, eq. 10
    (123 to 332 K), the gas ideal.
    """
    log = jnp.log(temperature)
    warm = 54.842763 - 6763.22 / temperature - 4.210 * log + 0.000367 * temperature
    cold = 53.878 - 1331.22 / temperature - 9.44523 * log + 0.014025 * temperature
    saturation = jnp.exp(warm + jnp.tanh(0.0415 * (temperature - 218.8)) * cold)  # Pa
    return 1e-6 * relative_humidity * saturation / (BOLTZMANN * temperature)


PHOTOLYSIS: dict[int, tuple[float, float, float]] = {
    1: (6.073e-05, 1.743, 0.474),
    2: (4.775e-04, 0.298, 0.08),
    3: (1.041e-05, 0.723, 0.279),
    4: (1.165e-02, 0.244, 0.267),
    5: (2.485e-02, 0.168, 0.108),
    6: (1.747e-01, 0.155, 0.125),
    7: (2.644e-03, 0.261, 0.288),
    8: (9.312e-07, 1.23, 0.307),
    11: (4.642e-05, 0.762, 0.353),
    12: (6.853e-05, 0.477, 0.323),
    13: (7.344e-06, 1.202, 0.417),
    14: (2.879e-05, 1.067, 0.358),
    15: (2.792e-05, 0.805, 0.338),
    16: (1.675e-05, 0.805, 0.338),
    17: (7.914e-05, 0.764, 0.364),
    18: (1.482e-06, 0.396, 0.298),
    19: (1.482e-06, 0.396, 0.298),
    20: (7.600e-04, 0.396, 0.298),
    21: (7.992e-07, 1.578, 0.271),
    22: (5.804e-06, 1.092, 0.377),
    23: (2.4246e-06, 0.395, 0.296),
    24: (2.424e-06, 0.395, 0.296),
    31: (6.845e-05, 0.13, 0.201),
    32: (1.032e-05, 0.13, 0.201),
    33: (3.802e-05, 0.644, 0.312),
    34: (1.537e-04, 0.17, 0.208),
    35: (3.326e-04, 0.148, 0.215),
    41: (7.649e-06, 0.682, 0.279),
    51: (1.588e-06, 1.154, 0.318),
    52: (1.907e-06, 1.244, 0.335),
    53: (2.485e-06, 1.196, 0.328),
    54: (4.095e-06, 1.111, 0.316),
    55: (1.135e-05, 0.974, 0.309),
    56: (4.365e-05, 1.089, 0.323),
    61: (7.537e-04, 0.499, 0.266),
}
"""Photolysis by the MCM's numbers: l [s-1], m and n of `mcm_photolysis`."""

PHOTOLYSIS_NAMES: dict[str, int] = {
    "J_O3_O1D": 1,
    "J_O3_O3P": 2,
    "J_H2O2": 3,
    "J_NO2": 4,
    "J_NO3_NO": 5,
    "J_NO3_NO2": 6,
    "J_HONO": 7,
    "J_HNO3": 8,
    "J_HCHO_H": 11,
    "J_HCHO_H2": 12,
    "J_CH3CHO": 13,
    "J_C2H5CHO": 14,
    "J_C3H7CHO_HCO": 15,
    "J_C3H7CHO_C2H4": 16,
    "J_IPRCHO": 17,
    "J_MACR_HCO": 18,
    "J_MACR_H": 19,
    "J_C5HPALD1": 20,
    "J_CH3COCH3": 21,
    "J_MEK": 22,
    "J_MVK_CO": 23,
    "J_MVK_C2H3": 24,
    "J_GLYOX_H2": 31,
    "J_GLYOX_HCHO": 32,
    "J_GLYOX_HCO": 33,
    "J_MGLYOX": 34,
    "J_BIACET": 35,
    "J_CH3OOH": 41,
    "J_CH3NO3": 51,
    "J_C2H5NO3": 52,
    "J_NC3H7NO3": 53,
    "J_IC3H7NO3": 54,
    "J_TC4H9NO3": 55,
    "J_NOA": 56,
}
"""The names that exports in KPP's format give the photolysis numbers."""

AIR: dict[str, str] = {
    "O2": "0.2095 * density",
    "N2": "0.7809 * density",
    "H2O": "water_vapour()",
}
"""What air is made of [molecule cm-3], with the mole fractions of O2 and N2 in dry air that
AtChem2 takes (Sommariva et al. 2020, Geosci. Model Dev. 13, 169)."""

_SIMPLE = {
    "KRO2NO": "2.7e-12 * exp(360 / temperature)",
    "KRO2HO2": "2.91e-13 * exp(1300 / temperature)",
    "KAPHO2": "5.2e-13 * exp(980 / temperature)",
    "KAPNO": "7.5e-12 * exp(290 / temperature)",
    "KRO2NO3": "2.3e-12",
    "KNO3AL": "1.44e-12 * exp(-1862 / temperature)",
    "KDEC": "1e6",
    "KROPRIM": "2.5e-14 * exp(-300 / temperature)",
    "KROSEC": "2.5e-14 * exp(-300 / temperature)",
    "KCH3O2": "1.03e-13 * exp(365 / temperature)",
    "K298CH3O2": "3.5e-13",
    "K14ISOM1": "3e7 * exp(-5300 / temperature)",
    "KMT05": "1.44e-13 * (1 + density / 4.2e19)",
    "KMT06": "1 + 1.4e-21 * exp(2200 / temperature) * H2O",
    "K1": "2.4e-14 * exp(460 / temperature)",
    "K3": "6.5e-34 * exp(1335 / temperature)",
    "K4": "2.7e-17 * exp(2199 / temperature)",
    "K2": "K3 * density / (1 + K3 * density / K4)",
    "KMT11": "K1 + K2",
    "KMT18": (
        "9.5e-39 * O2 * exp(5270 / temperature) / (1 + 7.5e-29 * O2 * exp(5610 / temperature))"
    ),
}

_FALLOFF = {  # coefficient: key of its parts, low-pressure limit / M, high-pressure limit, Fc
    "KBPAN": ("D", "1.1e-5 * exp(-10100 / T)", "1.9e17 * exp(-14100 / T)", "0.3"),
    "KFPAN": ("C", "3.28e-28 * (T / 300) ** -6.87", "1.125e-11 * (T / 300) ** -1.105", "0.3"),
    "KMT01": ("1", "1e-31 * (T / 300) ** -1.6", "5e-11 * (T / 300) ** -0.3", "0.85"),
    "KMT02": ("2", "1.3e-31 * (T / 300) ** -1.5", "2.3e-11 * (T / 300) ** 0.24", "0.6"),
    "KMT03": ("3", "3.6e-30 * (T / 300) ** -4.1", "1.9e-12 * (T / 300) ** 0.2", "0.35"),
    "KMT04": (
        "4",
        "1.3e-3 * (T / 300) ** -3.5 * exp(-11000 / T)",
        "9.7e14 * (T / 300) ** 0.1 * exp(-11080 / T)",
        "0.35",
    ),
    "KMT07": ("7", "7.4e-31 * (T / 300) ** -2.4", "3.3e-11 * (T / 300) ** -0.3", "0.81"),
    "KMT08": ("8", "3.2e-30 * (T / 300) ** -4.5", "3e-11", "0.41"),
    "KMT09": ("9", "1.4e-31 * (T / 300) ** -3.1", "4e-12", "0.4"),
    "KMT10": ("10", "4.1e-5 * exp(-10650 / T)", "6e15 * exp(-11170 / T)", "0.4"),
    "KMT12": ("12", "2.5e-31 * (T / 300) ** -2.6", "2e-12", "0.53"),
    "KMT13": ("13", "2.5e-30 * (T / 300) ** -5.5", "1.8e-11", "0.36"),
    "KMT14": ("14", "9e-5 * exp(-9690 / T)", "1.1e16 * exp(-10560 / T)", "0.36"),
    "KMT15": ("15", "8.6e-29 * (T / 300) ** -3.1", "9e-12 * (T / 300) ** -0.85", "0.48"),
    "KMT16": ("16", "8e-27 * (T / 300) ** -3.5", "3e-11 * (T / 300) ** -1", "0.5"),
    "KMT17": ("17", "5e-30 * (T / 300) ** -1.5", "1e-12", "0.17 * exp(-51 / T) + exp(-T / 204)"),
    "KBPPN": ("PPN", "1.7e-3 * exp(-11280 / T)", "8.3e16 * exp(-13940 / T)", "0.36"),
}


def _falloff(name: str, key: str, low: str, high: str, centre: str) -> dict[str, str]:
    """A coefficient between two limits, and its parts (Troe 1983, as IUPAC writes it).

    Atkinson et al. 2004, Atmos. Chem. Phys. 4, 1461, section 3.
    """
    k0, ki, ratio, fc, f = f"K{key}0", f"K{key}I", f"KR{key}", f"FC{key}", f"F{key}"
    width = "NC" if key == "C" else f"NC{key}"
    low, high, centre = (text.replace("T", "temperature") for text in (low, high, centre))
    return {
        k0: f"{low} * density",
        ki: high,
        ratio: f"{k0} / {ki}",
        fc: centre,
        width: f"0.75 - 1.27 * log10({fc})",
        f: f"10 ** (log10({fc}) / (1 + (log10({ratio}) / {width}) ** 2))",
        name: f"{k0} * {ki} * {f} / ({k0} + {ki})",
    }


COEFFICIENTS: dict[str, str] = {
    **_SIMPLE,
    **{k: v for name, row in _FALLOFF.items() for k, v in _falloff(name, *row).items()},
}
"""Generic and complex rate coefficients, and the parts of these, as expressions.

In cm3 molecule-1 s-1 or s-1. Exports from the MCM's earlier site in Leeds differ in two places:
KNO3AL is 1.4e-12 exp(-1860 / T), and KBPPN has the factor FCPPN in place of FPPN.
"""

DEFINITIONS: dict[str, str] = {
    **AIR,
    **{f"J{number}": f"mcm_photolysis{row}" for number, row in PHOTOLYSIS.items()},
    **COEFFICIENTS,
}
"""Every name that mechanisms of the MCM use without defining it, photolysis as ``J4``."""


def origin(name: str) -> str:
    """Whose figures one of `DEFINITIONS` has."""
    return "the air" if name in AIR else "MCM v3.3.1"


def definitions(wanted: Iterable[str]) -> dict[str, Expression]:
    """The definitions of these names and of all that they name in turn.

    Args:
        wanted: keys of `DEFINITIONS`.

    Returns:
        name -> expression, each after those that it names.

    Raises:
        ValueError: a name that the MCM does not have, with the nearest one.
    """
    found: dict[str, Expression] = {}

    def find(name: str) -> None:
        if name in found:
            return
        if name not in DEFINITIONS:
            raise ValueError(f"the MCM has no coefficient {name!r}{closest(name, DEFINITIONS)}")
        tree = parse(DEFINITIONS[name])
        for part in names(tree):
            if part in DEFINITIONS:
                find(part)
        found[name] = tree

    for name in wanted:
        find(name)
    return found
