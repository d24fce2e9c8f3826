"""Studies: methods compared under protocols with equal budgets, all fixed in one file before the first result."""

from models.study.plan import Method, Plan, Range
from models.study.reading import read_plan, studies
from models.study.study import study

__all__ = ["Method", "Plan", "Range", "read_plan", "studies", "study"]
