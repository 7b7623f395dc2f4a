"""How gas is cooled: each process `Gas -> erg cm-3 s-1`."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from .constants import COLDEST, HOTTEST
from .gas import Gas

__all__ = ["COOLING", "atomic_lines", "compton", "molecular_lines"]


def atomic_lines(gas: Gas) -> Any:
    """Ionisation, recombination and excitation of H and He (Cen 1992, doi:10.1086/191630)."""
    t = jnp.maximum(gas.temperature, 10.0)
    root, e = jnp.sqrt(t), gas["e-"]
    damped = 1 / (1 + jnp.sqrt(t / 1e5))
    hot = root * (t / 1e3) ** -0.2 / (1 + (t / 1e6) ** 0.7)

    def boltzmann(temperature: float) -> Any:
        return jnp.exp(-temperature / t)

    h = 1.27e-21 * root * boltzmann(157809.1) + 7.5e-19 * boltzmann(118348.0)
    he = 9.38e-22 * root * boltzmann(285335.4)
    he_ion = 4.95e-22 * root * boltzmann(631515.0) + 5.54e-17 * t**-0.397 * boltzmann(473638.0)
    twice = (5.01e-27 * boltzmann(55338.0) + 9.1e-27 * boltzmann(13179.0)) * t**-0.1687
    dielectronic = 1.24e-13 * t**-1.5 * boltzmann(470000.0) * (1 + 0.3 * boltzmann(94000.0))
    return e * (
        damped * (h * gas["H"] + he * gas["He"] + (he_ion + twice * e) * gas["He+"])
        + hot * (8.7e-27 * gas["H+"] + 3.48e-26 * gas["He++"])
        + (1.55e-26 * t**0.3647 + dielectronic) * gas["He+"]
    )


def compton(gas: Gas) -> Any:
    """Electrons against the cosmic background at redshift 0 (Cen 1992)."""
    return 5.65e-36 * (gas.temperature - COLDEST) * gas["e-"]


def molecular_lines(gas: Gas) -> Any:
    """H2 (Glover & Abel 2008, doi:10.1111/j.1365-2966.2008.13224.x, as updated by Glover 2015).

    The update is doi:10.1093/mnras/stv1781. Formulas hold within limits of temperature, and are
    evaluated there alone: beyond them they overflow, and the derivative of what is not chosen
    would be NaN.
    """
    t = gas.temperature

    def fit(low: float, high: float, *coefficients: float) -> Any:
        scaled = jnp.log10(jnp.clip(t, low, high) / 1e3)
        power = functools.reduce(lambda sum_, c: sum_ * scaled + c, reversed(coefficients))
        return 10.0 ** jnp.minimum(power, 30.0)

    def window(low: float, high: float) -> Any:
        """About one between two decades, and falling off outside."""
        x = (jnp.log10(t) - low) / (high - low)
        rise = 10 / (10 + jnp.exp(-50 * (x + 0.2)))
        fall = 10 / (10 + jnp.exp(-50 * (1.2 - x)))
        return 10.0 ** (200 * (rise * fall - 1))

    def within(coefficients: tuple[float, ...], outside: float) -> Any:
        """A fit from 10 to 1e4 K."""
        beyond = outside * window(1, 4)
        return gas.choose(10, beyond, gas.choose(1e4, fit(10, 1e4, *coefficients), beyond))

    between = window(2, 4)
    by_h = 1.862314467912518e-22 * window(1, np.log10(6e3))
    for low, high, coefficients in zip((1000, 100, COLDEST), (6000, 1000, 100), H2_H, strict=True):
        by_h = gas.choose(high, fit(low, high, *coefficients), by_h)
    by_proton = within(H2_PROTON, 1.182509139382060e-21)
    by_helium = within(H2_HE, 1.002560385050777e-22)
    by_h2 = fit(COLDEST, HOTTEST, *H2_H2) * between
    by_electron = between * gas.choose(
        500, fit(COLDEST, 500, *H2_E[0]), fit(500, HOTTEST, *H2_E[1])
    )
    dilute = (
        by_h * gas["H"]
        + by_proton * gas["H+"]
        + by_h2 * gas["H2"]
        + by_electron * gas["e-"]
        + by_helium * gas["He"]
    )
    cold = jnp.minimum(t, 2000.0) / 1e3
    rotation = 9.5e-22 * cold**3.76 / (1 + 0.12 * cold**2.1) * jnp.exp(-((0.13 / cold) ** 3))
    rotation += 3e-24 * jnp.exp(-0.51 / cold)
    vibration = 6.7e-19 * jnp.exp(-5.86 / cold) + 1.6e-18 * jnp.exp(-11.7 / cold)
    # to 1e-84 and no lower, as derivatives square it
    beyond = 5.531333679406485e-19 / (1 + jnp.exp(jnp.minimum((t - 3e4) * 2e-4, 150.0)))
    hot = gas.choose(1e4, fit(2000, 1e4, *H2_DENSE), beyond)
    dense = gas.choose(np.nextafter(2000.0, 0.0), rotation + vibration, hot)
    return gas["H2"] * dense * dilute / (dense + dilute)


COOLING: dict[str, Callable[[Gas], Any]] = {
    "atomic lines": atomic_lines,
    "Compton": compton,
    "H2 lines": molecular_lines,
}
"""Every process by name; that of metals is a `metals.MetalLines`."""

SWITCHES = (10.0, 100.0, 500.0, 1000.0, 2000.0, 6000.0, 1e4)
"""K, at which `molecular_lines` jumps."""

# Coefficients of powers of log10(T / 1000 K), of the logarithm of erg cm3 s-1 (erg s-1 if dense)
# fmt: off
H2_H = (
    (-24.311209, 4.6450521, -3.7209846, 5.9369081, -5.5108049, 1.5538288),
    (-24.311209, 3.5692468, -11.332860, -27.850082, -21.328264, -4.2519023),
    (-16.818342, 37.383713, 58.145166, 48.656103, 20.159831, 3.8479610),
)
H2_PROTON = (-22.089523, 1.5714711, 0.015391166, -0.23619985, -0.51002221, 0.32168730)
H2_H2 = (-23.962112, 2.09433740, -0.77151436, 0.43693353, -0.14913216, -0.033638326)
H2_HE = (-23.689237, 2.1892372, -0.81520438, 0.29036281, -0.16596184, 0.19191375)
H2_E = (
    (-21.928796, 16.815730, 96.743155, 343.19180, 734.71651,
     983.67576, 801.81247, 364.14446, 70.609154),
    (-22.921189, 1.6802758, 0.93310622, 4.0406627, -4.7274036,
     -8.8077017, 8.9167183, 6.4380698, -6.3701156),
)
H2_DENSE = (
    -20.584225, 5.0194035, -1.5738805, -4.7155769, 2.4714161,
    5.4710750, -3.9467356, -2.2148338, 1.8161874,
)
# fmt: on
