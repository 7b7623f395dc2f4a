"""What a run does: each stage is `(model, data, key, ...) -> Result`."""

from .base import Result as Result
from .base import coefficients as coefficients
from .base import true_rates as true_rates
from .check import check as check
from .check import check_order as check_order
from .check import check_settings as check_settings
from .check import check_used as check_used
from .check import missing as missing
from .check import rehearse as rehearse
from .committee import committee as committee
from .derivative import derivative as derivative
from .emulate import emulate as emulate
from .evaluate import Report as Report
from .evaluate import evaluate as evaluate
from .infer import infer as infer
from .pipeline import Outcome as Outcome
from .pipeline import given as given
from .pipeline import pursue as pursue
from .pipeline import told as told
from .prepare import Data as Data
from .prepare import Plan as Plan
from .regress import regress as regress
from .trajectory import trajectory as trajectory
