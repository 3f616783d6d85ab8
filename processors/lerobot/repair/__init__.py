"""`episoded repair`: what `verify` found wrong and the files themselves can tell how to mend, as a plan."""

from .plan import Change, Move, Plan, Refusal, Retire, Write
from .planning import plan_repair

__all__ = ["Change", "Move", "Plan", "Refusal", "Retire", "Write", "plan_repair"]
