"""`episoded verify`: everything that is wrong with a LeRobot dataset, found before LeRobot meets it."""

from .inspection import inspect_dataset
from .report import Report

__all__ = ["Report", "inspect_dataset"]
