"""Networks: species, reactions, composition and rate coefficients."""

from .checks import floating as floating
from .checks import impossible as impossible
from .declared import closed as closed
from .declared import declared as declared
from .network import Network as Network
from .network import RateFunction as RateFunction
from .reaction import MechanismError as MechanismError
from .reaction import Reaction as Reaction
from .reaction import Units as Units
from .reaction import sides as sides
from .reaction import unknown_species as unknown_species
from .report import Report as Report
from .structure import Structure as Structure
