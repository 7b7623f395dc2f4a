"""Rate laws of models that take KPP mechanisms, by name and number of arguments.

They stand where the mechanism itself does not define them: WRF-Chem's laws, whose last arguments
are the temperature T [K] and the number density of air M [molecule cm-3] (Grell et al. 2005, Atmos.
Environ. 39, 6957; the file WRFUserRateLaws), GEOS-Chem's until version 12, with the exponents of
JPL and zeros written out (Bey et al. 2001, J. Geophys. Res. 106, 23073), and those of box models
that read CMAQ's, CHIMERE's, RACM's, CAMx's and MOZART-4's mechanisms. The same name with another
number of arguments is another law: ARR2(A, B) is A exp(B / T) in KPP, and ARR2(A, B, T) is
A exp(-B / T) in WRF-Chem.
"""

import re

from ..expression import parse
from .kpp_code import Function

__all__ = ["host_law"]

_LAWS = """
falloff_(lo, hi, f, n) = lo / (1 + lo / hi) * f ** (1 / (1 + (log10(lo / hi) / n) ** 2))
inverse_(lo, hi, f, n) = lo / (1 + lo / hi) * f ** (1 / (1 / n + log10(lo / hi) ** 2))

ARR(a, b, c, t) = a * exp(-b / t) * (t / 300) ** c
ARR2(a, b, t) = a * exp(-b / t)
THERMAL_T2(c, d, t) = t ** 2 * c * exp(-d / t)
TROE(k0, n, ki, m, t, air) = k_3rd(t, air, k0, n, ki, m, 0.6)
TROEE(a, b, k0, n, ki, m, t, air) = a * exp(-b / t) * k_3rd(t, air, k0, n, ki, m, 0.6)
FALL(a0, b0, c0, a1, b1, c1, f, t, air) = falloff_(ARR(a0, b0, c0, t) * air, ARR(a1, b1, c1, t), f, 1)
F2(a0, b0, c0, a1, b1, c1, f, n, t, air) = falloff_(ARR(a0, b0, c0, t) * air, ARR(a1, b1, c1, t), f, n)
EP2(a0, c0, a2, c2, a3, c3, t, air) = a0 * exp(-c0 / t) + a3 * exp(-c3 / t) * air / (1 + a3 * exp(-c3 / t) * air / (a2 * exp(-c2 / t)))
EP3(a1, c1, a2, c2, t, air) = a1 * exp(-c1 / t) + a2 * exp(-c2 / t) * air

GCARR(a, b, c) = GCARR_abc(a, b, c)
GCJPLPR(a0, b0, c0, a1, b1, c1, fv, f1, f2) = falloff_(GCARR(a0, b0, c0) * density, GCARR(a1, b1, c1), MERGE(exp(-temperature / f1) + exp(-f2 / temperature), MERGE(exp(-temperature / f1), fv, f1 /= 0), f2 /= 0), 1)
GCJPLEQ(a0, b0, c0, a1, b1, c1, a2, b2, c2, fv, f1, f2) = GCJPLPR(a1, b1, c1, a2, b2, c2, fv, f1, f2) / GCARR(a0, b0, c0)
GCJPLEQ(a0, b0, c0, a1, b1, c1) = GCARR(a1, b1, c1) / GCARR(a0, b0, c0)
GC_HO2HO2(a0, b0, c0, a1, b1, c1) = (GCARR(a0, b0, c0) + GCARR(a1, b1, c1) * density) * (1 + 1.4e-21 * H2O * exp(2200 / temperature))
GC_HO2NO3(a0, b0, c0, a1, b1, c1) = GC_HO2HO2(a0, b0, c0, a1, b1, c1)
GC_TBRANCH(a0, b0, c0, a1, b1, c1) = GCARR(a0, b0, c0) / (1 + GCARR(a1, b1, c1))
GC_RO2HO2(a0, b0, c0, a1, b1, c1) = GCARR(a0, b0, c0) * (1 - exp(-0.245 * GCARR(a1, b1, c1)))
GC_OHHNO3(a0, b0, c0, a1, b1, c1, a2, b2, c2) = GCARR(a0, b0, c0) + GCARR(a2, b2, c2) * density / (1 + GCARR(a2, b2, c2) * density / GCARR(a1, b1, c1))
GC_DMSOH(a0, b0, c0, a1, b1, c1) = GCARR(a0, b0, c0) * density * 0.2095 / (1 + 0.2095 * GCARR(a1, b1, c1))
GC_GLYXNO3(a, b, c) = GCARR(a, b, c) * (0.2095 * density + 3.5e18) / (2 * 0.2095 * density + 3.5e18)
GC_GLYCOHA(a, b, c) = GCARR(a, b, c) * max(1 - 11.0729 * exp(-temperature / 73), 0)
GC_GLYCOHB(a, b, c) = GCARR(a, b, c) * (1 - max(1 - 11.0729 * exp(-temperature / 73), 0))
GC_HACOHA(a, b, c) = GCARR(a, b, c) * max(1 - 23.7 * exp(-temperature / 60), 0)
GC_HACOHB(a, b, c) = GCARR(a, b, c) * (1 - max(1 - 23.7 * exp(-temperature / 60), 0))
fyrno3_(n) = falloff_(1.94e-22 * exp(0.97 * n) * density, 0.826 * (300 / temperature) ** 8.1, 0.411, 1)
share_(f) = f / (1 + f)
methyl_(n) = MERGE(3.0e-4, share_(fyrno3_(n)), n == 1)
GC_RO2NO(b, a0, b0, c0, a1, b1, c1) = GCARR(a0, b0, c0) * MERGE(methyl_(a1), 1 - methyl_(a1), b == 'A')
GC_OHCO(a, b, c) = GC_OHCO_a(1.5e-13)
PAN(a0, b0, c0, a1, b1, c1, f) = falloff_(a0 * exp(b0 / temperature) * (temperature / 300) ** c0 * density, a1 * exp(b1 / temperature) * (temperature / 300) ** c1, f, 0.75 - 1.27 * log10(f))
ARRPLUS(a, b, c, d, e) = max(0, a * (d + e * temperature) * exp(-b / temperature) * (temperature / 300) ** c)
TUNPLUS(a, b, c, d, e) = max(0, a * (d + e * temperature) * exp(b / temperature) * exp(c / temperature ** 3))
ISO1(a, b, c, d, e, f, g) = GC_ISO1(a, b, c, d, e, f, g)
ISO2(a, b, c, d, e, f, g) = GC_ISO2(a, b, c, d, e, f, g)
EPO(a, e, m) = GC_EPO_a(a, e, m)
NIT(a, b, c, n, x, y) = GC_NIT(a, b, c, n, x, y)
ALK(a, b, c, n, x, y) = GC_ALK(a, b, c, n, x, y)

CMAQ_1to4(a, b, c) = a * (temperature / 300) ** b * exp(-c / temperature)
CMAQ_5(a, b, c, k) = k / CMAQ_1to4(a, b, c)
CMAQ_6(a, b, c, k) = k * CMAQ_1to4(a, b, c)
CMAQ_7(a, b, c) = CMAQ_1to4(a, b, c) * (1 + 0.6 * pressure / 101325)
CMAQ_8(a0, c0, a2, c2, a3, c3) = EP2(a0, c0, a2, c2, a3, c3, temperature, density)
CMAQ_9(a1, c1, a2, c2) = EP3(a1, c1, a2, c2, temperature, density)
CMAQ_10(a0, b0, c0, a1, b1, c1, f, n) = inverse_(CMAQ_1to4(a0, b0, c0) * density, CMAQ_1to4(a1, b1, c1), f, n)
CMAQ_10D(a0, b0, c0, a1, b1, c1, f, n) = CMAQ_10(a0, b0, c0, a1, b1, c1, f, n)
OH_CO(a0, b0, c0, a1, b1, c1, f, n) = inverse_(CMAQ_1to4(a0, b0, c0) * density, CMAQ_1to4(a1, b1, c1), f, n) / density
chimere_(a, b, c) = a * exp(-b / temperature) * (300 / temperature) ** c
chimere_f_(r, f) = f ** (1 / (1 + ((log10(r) - 0.12) / 1.2) ** 2)) / (1 + r)
chimere_e_(a, c) = a * exp(-c / temperature)
CHIMERE_TROE(a0, b0, c0, a1, b1, c1, f) = falloff_(chimere_(a0, b0, c0) * density, chimere_(a1, b1, c1), f, 1) / density
CHIMERE_MTROE(a0, b0, c0, a1, b1, c1, f) = chimere_(a0, b0, c0) * chimere_f_(chimere_(a0, b0, c0) * density / chimere_(a1, b1, c1), f)
CHIMERE_SPECIAL_1(a1, c1, a2, c2) = chimere_e_(a1, c1) * share_(chimere_e_(a2, c2))
CHIMERE_SPECIAL_2(a1, c1, a2, c2) = chimere_e_(a1, c1) / (1 + chimere_e_(a2, c2))
CHIMERE_SPECIAL_3(a1, c1, a2, c2, a3, c3, a4, c4) = 2 * sqrt(chimere_e_(a1, c1) * chimere_e_(a2, c2) * share_(chimere_e_(a3, c3)) * share_(chimere_e_(a4, c4)))
chimere_4_(f1, f2, g3, g4) = 2 * sqrt(f1 * f2) * (1 - sqrt(g3 * g4)) * (1 - g4) / (2 - g3 - g4)
CHIMERE_SPECIAL_4(a1, c1, a2, c2, a3, c3, a4, c4) = chimere_4_(chimere_e_(a1, c1), chimere_e_(a2, c2), share_(chimere_e_(a3, c3)), share_(chimere_e_(a4, c4)))
CHIMERE_JO3(j) = j * H2O / (H2O + density * (0.02909 * exp(70 / temperature) + 0.06545 * exp(110 / temperature)))
GEOS_STD(a, b, c) = GCARR_abc(a, b, c)
GEOS_P(a0, b0, c0, a1, b1, c1, fv, f1, f2) = GCJPLPR(a0, b0, c0, a1, b1, c1, fv, f1, f2)
GEOS_E(a, b, c, k) = k / GCARR_abc(a, b, c)
GEOS_V(a0, b0, c0, a1, b1, c1) = GC_TBRANCH(a0, b0, c0, a1, b1, c1)
GEOS_X(a0, b0, c0, a1, b1, c1, a2, b2, c2) = GC_OHHNO3(a0, b0, c0, a1, b1, c1, a2, b2, c2)
GEOS_Z(a0, b0, c0, a1, b1, c1, a2, b2, c2) = (GCARR(a0, b0, c0) + GCARR(a1, b1, c1) * density) * (1 + H2O * GCARR(a2, b2, c2))
GEOS_Y(a, b, c) = k_3rd(temperature, density, 5.9e-33, 1.4, 1.1e-12, -1.3, 0.6) + falloff_(1.5e-13 * (300 / temperature) ** (-0.6) * density, 2.1e9 * (300 / temperature) ** (-6.1), 0.6, 1) / density
RACM_TROE(a0, b0, a1, b1) = k_3rd(temperature, density, a0, b0, a1, b1, 0.6)
RACM_TROE_EQUIL(a0, b0, a1, b1, a2, c2) = RACM_TROE(a0, b0, a1, b1) / a2 * exp(-c2 / temperature)
RACM_THERMAL(a, b) = a * exp(-b / temperature)
RACM_THERMAL_T2(a, b) = a * temperature ** 2 * exp(-b / temperature)
camx_(a, e, b, tr) = a * (temperature / tr) ** b * exp(-e / temperature)
natural_(lo, hi, f, n) = lo / (1 + lo / hi) * f ** (1 / (1 + (log(lo / hi) / n) ** 2))
CAMX_4(a0, e0, b0, t0, a1, e1, b1, t1, f, n) = natural_(camx_(a0, e0, b0, t0) * density, camx_(a1, e1, b1, t1), f, n)
MZ4_TROE(a0, b0, a1, b1, f) = k_3rd(temperature, density, a0, b0, a1, b1, f) / density
AM3_TROE(a0, b0, a1, b1, f) = k_3rd(temperature, density, a0, b0, a1, b1, f)
"""  # noqa: E501 (a law a line)


def _read() -> dict[tuple[str, int], Function]:
    found = {}
    for line in filter(None, _LAWS.splitlines()):
        head, _, text = line.partition(" = ")
        match = re.fullmatch(r"(\w+)\((.*)\)", head)
        assert match is not None
        arguments = tuple(a.strip().upper() for a in match[2].split(","))
        name = match[1].upper()
        body = (("set", None, name, parse(text)),)
        found[name, len(arguments)] = Function(
            match[1], arguments, name, body, len(arguments), "", "jaxchem"
        )
    return found


_HOST_LAWS = _read()


def host_law(name: str, count: int) -> Function | None:
    """The law of this name, in capitals, that takes this many arguments; `None` where none is."""
    return _HOST_LAWS.get((name, count))
