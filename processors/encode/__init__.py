"""The encode stage: PNG frames to video."""
