"""Constants of heating and cooling, with KROME's digits (Grassi et al. 2014)."""

__all__ = ["BOLTZMANN", "COLDEST", "ELECTRON_VOLT", "GAMMA", "HABING", "HOTTEST", "PLANCK"]

BOLTZMANN = 1.380648e-16
"""erg K-1"""
PLANCK = 4.135667516e-15
"""eV s"""
ELECTRON_VOLT = 1.60217646e-12
"""erg"""
GAMMA = 1.66666666667
"""Ratio of heat capacities, of any mixture."""
COLDEST, HOTTEST = 2.73, 1e9
"""K; the temperature counts from here to there."""
HABING = 4.8540003613600641e-3
"""Far ultraviolet light, 6 to 13.6 eV, of the background of Haardt & Madau (2012, ApJ 746, 125) at
redshift 0, relative to 1.6e-3 erg cm-2 s-1 (Habing 1968)."""
