"""Inference of rate coefficients from measurements."""

from .measurements import Measurements as Measurements
from .measurements import read_measurements as read_measurements
