"""What chemists ask of a network: budgets, lifetimes, graphs, and how two networks differ."""

from .accounting import Budget as Budget
from .accounting import Contribution as Contribution
from .accounting import Course as Course
from .accounting import contributions as contributions
from .accounting import lifetimes as lifetimes
from .accounting import over_time as over_time
from .comparison import Comparison as Comparison
from .comparison import RateDifference as RateDifference
from .comparison import compare as compare
from .graphs import edges as edges
from .graphs import graph as graph
