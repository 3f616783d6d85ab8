"""The metadata stage: what LeRobot would have written, and the quality report."""
