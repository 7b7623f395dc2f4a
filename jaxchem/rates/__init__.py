"""Rate laws, the conditions that they are evaluated at, and rate coefficients of many reactions.

A rate coefficient is an [`expression`][jaxchem.expression] over conditions, quantities that the
mechanism names, numbers, arithmetic and the laws of `LAWS`.
"""

from . import astro, basic, combustion, geoschem, kpp, mcm, micm
from .conditions import CONDITIONS, NAMED, Conditions
from .evaluation import Quantities, RateLaw, library, reads, validate
from .law import AVOGADRO, BOLTZMANN, LAWS, Law, law

__all__ = [
    "AVOGADRO",
    "BOLTZMANN",
    "CONDITIONS",
    "LAWS",
    "NAMED",
    "Conditions",
    "Law",
    "Quantities",
    "RateLaw",
    "astro",
    "basic",
    "combustion",
    "geoschem",
    "kpp",
    "law",
    "library",
    "mcm",
    "micm",
    "reads",
    "validate",
]
