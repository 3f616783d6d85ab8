"""Depth: from the frames of a camera to one depth map for each of them, in order."""
