"""Gas that heats and cools: processes, each a function with its source, and their temperature."""

from .cloud import Cloud as Cloud
from .cooling import COOLING as COOLING
from .gas import Gas as Gas
from .heating import HEATING as HEATING
from .light import Light as Light
from .light import Spectrum as Spectrum
from .metals import MetalLines as MetalLines
from .states import random_states as random_states
