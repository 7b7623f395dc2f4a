"""Rate coefficients that CAM's host code works out by the tag of a reaction, as expressions.

They are those of mo_usrrxt in the Community Atmosphere Model (github.com/ESCOMP/CAM,
cam_development of July 2025), in molecule cm-3, s and K, and multiply the concentrations of all
reactants, that of the air (M) included. The mechanisms are described by Emmons et al. (2010,
Geosci. Model Dev. 3, 43) and Emmons et al. (2020, J. Adv. Model. Earth Syst. 12,
e2019MS001882); the branching of isoprene's peroxy radicals with NO is that of Wennberg et al.
(2018, Chem. Rev. 118, 3337).
"""

import math
import re

__all__ = ["REVERSE", "user_rate"]

_COEFFICIENTS = {
    "usr_O_O2": "6e-34 * (300 / temperature) ** 2.4",
    "usr_O_O": "2.76e-34 * exp(720 / temperature)",
    "usr_HO2_HO2": (
        "(3e-13 * exp(460 / temperature) + 2.1e-33 * density * exp(920 / temperature))"
        " * (1 + 1.4e-21 * H2O * exp(2200 / temperature))"
    ),
    "usr_HNO3_OH": (
        "2.4e-14 * exp(460 / temperature) + 6.5e-34 * density * exp(1335 / temperature)"
        " / (1 + 6.5e-34 * density * exp(1335 / temperature) / (2.7e-17 * exp(2199 / temperature)))"
    ),
    "usr_CO_OH": (
        "micm_ternary_jpl19(6.9e-33, -2.1, 0, 298, 1.1e-12, 1.3, 0, 298, 1.85e-13, 0, -65, 298,"
        " 0.6, 1)"
    ),
    "usr_CO_OH_a": "1.5e-13 * (1 + 6e-7 * 1.38065e-16 * density * temperature)",
    "usr_CO_OH_b": "micm_ternary(1.5e-13, 0, 0, 2.1e9, 6.1, 0, 0.6, 1)",
    "usr_CH3COCH3_OH": "3.82e-11 * exp(-2000 / temperature) + 1.33e-13",
    "usr_XOOH_OH": "7.69e-17 * temperature ** 2 * exp(253 / temperature)",
    "usr_MCO3_NO2": "1.1e-11 * (300 / temperature) / density",
    "usr_SO2_OH": "micm_troe(3e-31, -3.3, 0, 1.5e-12, 0, 0, 0.6, 1)",
    "usr_DMS_OH": (
        "8.2e-39 * exp(5376 / temperature) * 0.21 * density"
        " / (1 + 1.05e-5 * 0.21 * exp(3644 / temperature))"
    ),
    "usr_SO3_H2O": "8.5e-41 * H2O * exp(6540 / temperature)",
    "usr_N_O2": "2e-18 * temperature ** 2.15 * exp(-2557 / temperature)",
    "usr_N2D_O2": "6.2e-12 * temperature / 300",
    "usr_ISOPZD1O2": "micm_tunneling(5.05e15, 12200, 1e8)",
    "usr_ISOPZD4O2": "micm_tunneling(2.22e9, 7160, 1e8)",
}

_PAN = "1.111e28 * exp(-14000 / temperature)"

REVERSE: dict[str, tuple[str, str]] = {
    "usr_N2O5_M": ("tag_NO2_NO3", "1.724138e26 * exp(-10840 / temperature)"),
    "usr_HO2NO2_M": ("tag_NO2_HO2", "exp(-10900 / temperature) / 2.1e-27"),
    "usr_CL2O2_M": ("tag_CLO_CLO_M", "1 / (2.16e-27 * exp(8537 / temperature))"),
    "usr_PAN_M": ("tag_CH3CO3_NO2", _PAN),
    "usr_MPAN_M": ("tag_MCO3_NO2", _PAN),
    "usr_PBZNIT_M": ("tag_ACBZO2_NO2", _PAN),
    "usr_TERPAPAN_M": ("tag_TERPACO3_NO2", _PAN),
    "usr_TERPA2PAN_M": ("tag_TERPA2CO3_NO2", _PAN),
    "usr_TERPA3PAN_M": ("tag_TERPA3CO3_NO2", _PAN),
}
"""Decompositions: the tag of the association in the same file, and what multiplies its rate."""

_NITRATES = {
    "ISOPB1O2": (0.14, 6),
    "ISOPB4O2": (0.13, 6),
    **dict.fromkeys(("ISOPED1O2", "ISOPED4O2", "ISOPZD1O2", "ISOPZD4O2"), (0.12, 6)),
    "MVKO2": (0.04, 6),
    "MACRO2": (0.06, 6),
    "IEPOXOO": (0.025, 8),
    "ISOPNO3": (0.135, 9),
    "ISOPN1DO2": (0.084, 11),
    "ISOPN2BO2": (0.065, 11),
    "ISOPN3BO2": (0.053, 11),
    "ISOPN4DO2": (0.165, 11),
    "ISOPNBNO3O2": (0.203, 11),
    "NC4CHOO2": (0.021, 11),
    "ISOPNOOHBO2": (0.141, 12),
    "ISOPNOOHDO2": (0.045, 12),
}
"""Peroxy radicals: share of nitrate at 293 K and 2.45e19 molecule cm-3, heavy atoms."""


def user_rate(tag: str) -> str | None:
    """The expression of a coefficient, `None` where it is not one of temperature and air alone.

    Args:
        tag: of a reaction without numbers. ``H2O`` in the expression is the concentration of
            water vapour.
    """
    match = re.fullmatch(r"usr_(\w+)_NO([na])", tag)
    if match and match[1] in _NITRATES:
        return _branch(*_NITRATES[match[1]], nitrate=match[2] == "n")
    return _COEFFICIENTS.get(tag)


def _branch(share: float, heavy: int, nitrate: bool) -> str:
    """RO2 + NO to the nitrate, or to the alkoxy radical: 2.7e-12 exp(360 / T) of both together."""
    low = 2e-22 * math.exp(heavy)
    ratio = low * 2.45e19 / (0.43 * (293 / 298) ** -8)
    reference = low * 2.45e19 / (1 + ratio) * 0.41 ** (1 / (1 + math.log10(ratio) ** 2))
    other = reference * (1 - share) / share
    ours = f"micm_ternary_jpl19({low!r}, 0, 0, 298, 0.43, -8, 0, 298, 0, 0, 0, 298, 0.41, 1)"
    taken = ours if nitrate else repr(other)
    return f"2.7e-12 * exp(360 / temperature) * {taken} / ({ours} + {other!r})"
