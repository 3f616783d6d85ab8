"""From points in the robot base to pixels of a camera.

Camera frame: x right, y down, z forward (OpenCV). Pixel (0, 0) is the centre of the top left one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Rows that are projected at a time: bounds the memory that is not part of the result.
_ROWS = 64


def project(
    points: NDArray[np.float32], cameras: Floats, matrix: Floats, distortion: Sequence[float], min_depth: float
) -> NDArray[np.float32]:
    """(T, N, 3) points in m -> (T, N, 2) pixels; NaN for points behind the camera or nearer than `min_depth` m.

    `cameras`: (4, 4) or (T, 4, 4) poses in the base. `matrix`: (3, 3). `distortion`: k1, k2, p1, p2, k3 of OpenCV's
    model, or nothing for rectified images. Pixels outside the image are kept: they say where the point is.
    """
    pixels = np.empty((*points.shape[:2], 2), np.float32)
    poses = np.broadcast_to(cameras, (len(points), 4, 4))
    for start in range(0, len(points), _ROWS):
        part = slice(start, start + _ROWS)
        pixels[part] = _project(points[part].astype(np.float64), poses[part], matrix, distortion, min_depth)
    return pixels


def _project(points: Floats, poses: Floats, matrix: Floats, distortion: Sequence[float], min_depth: float) -> Floats:
    seen = (points - poses[:, None, :3, 3]) @ poses[:, :3, :3]
    depth = seen[..., 2]
    with np.errstate(invalid="ignore"):
        depth = np.where(depth > min_depth, depth, np.nan)
    x, y = seen[..., 0] / depth, seen[..., 1] / depth
    if any(distortion):
        x, y = _distorted(x, y, *distortion)
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    return np.stack([u, matrix[1, 1] * y + matrix[1, 2]], axis=-1)


def _distorted(x: Floats, y: Floats, k1: float, k2: float, p1: float, p2: float, k3: float) -> tuple[Floats, Floats]:
    """Brown and Conrady's lens, as in OpenCV's documentation of `projectPoints`."""
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )
