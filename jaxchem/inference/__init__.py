"""Rate coefficients with their uncertainty from measurements."""

from .bands import Bands as Bands
from .bands import bands as bands
from .compare import Comparison as Comparison
from .compare import compare as compare
from .design import Design as Design
from .design import candidates as candidates
from .design import design as design
from .estimate import estimate as estimate
from .fit import Fit as Fit
from .fit import infer_rates as infer_rates
from .measurements import Measurements as Measurements
from .measurements import read_measurements as read_measurements
from .parameters import Parameter as Parameter
from .plan import plan as plan
from .posterior import Posterior as Posterior
from .problem import Problem as Problem
from .problem import problem as problem
from .report import report as report
from .sampler import Samples as Samples
from .sampler import sample as sample
