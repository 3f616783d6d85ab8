"""One still picture of an episode, drawn by matplotlib: for a report, a review, or a machine without Rerun."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import EpisodedError

if TYPE_CHECKING:
    from pathlib import Path

    from ..episode import Episode
    from ..formats.droid import DroidEpisode
    from .droid import Finished

_DPI: Final = 110
_COLUMNS: Final = 3
_PANEL: Final = (5.2, 3.4)  # inches


def draw_droid(episode: DroidEpisode, path: Path) -> None:
    """The path in each camera's image, the scene from above and from the side, gripper and distance over time.

    Raises InputError (`not_finished`) and EpisodedError (`needs_matplotlib`).
    """
    from .droid import Finished

    done = Finished(episode)
    figure, panels = _figure(len(done.serials) + 3, f"{episode.id}, {done.rows} rows")
    for serial in done.serials:
        _draw_camera(next(panels), done, serial)
    for axes, name in (("x", "y"), ("x", "z")):
        _draw_scene(next(panels), done, axes, name)
    _draw_time(next(panels), done)
    _save(figure, path)


def draw_lerobot(episode: Episode, path: Path) -> None:
    """First, middle and last picture of each camera; states and actions over time.

    Raises InputError for a table or video that cannot be read, EpisodedError (`needs_matplotlib`).
    """
    from .lerobot import curves_of

    curves = curves_of(episode)
    title = f"{episode.root.name}/{episode.id}, {episode.length} frames at {float(episode.fps):g} fps"
    figure, panels = _figure(3 * len(episode.cameras) + len(curves), title)
    for camera in episode.cameras:
        for row in (0, episode.length // 2, episode.length - 1):
            panel = next(panels)
            panel.set_title(f"{camera.key}, frame {row}", fontsize=8)
            panel.set_axis_off()
            if (picture := _picture_of(episode, camera, row)) is not None:
                panel.imshow(picture)
    for name, values in curves.items():
        panel = next(panels)
        panel.plot(np.arange(len(values)) / float(episode.fps), values, linewidth=0.8)
        panel.set_title(name, fontsize=8)
        panel.set_xlabel("s")
    _save(figure, path)


def _draw_camera(panel: Any, done: Finished, serial: str) -> None:
    width, height = (int(value) for value in done.tracks[f"image_size_{serial}"])
    video = done.video(serial)
    if video is not None:
        panel.imshow(_frame(video, 0), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    pixels = done.tracks[f"tracks_2d_{serial}"].mean(axis=1)
    panel.scatter(pixels[:, 0], pixels[:, 1], c=done.seconds, s=4, cmap="viridis")
    panel.scatter(*np.moveaxis(done.tracks[f"tracks_2d_{serial}"][0], -1, 0), s=1, color="tab:red")
    panel.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal")
    role = next((camera.role for camera in done.episode.recorded if camera.serial == serial), "")
    panel.set_title(f"{serial} {role}: path of the contact, pads in row 0 (red)", fontsize=8)


def _draw_scene(panel: Any, done: Finished, across: str, up: str) -> None:
    i, j = "xyz".index(across), "xyz".index(up)
    path = done.tracks["contact_centroids"]
    panel.scatter(path[:, i], path[:, j], c=done.seconds, s=4, cmap="viridis")
    panel.plot(0, 0, "k+", markersize=12)
    for serial in done.serials:
        poses = done.poses(serial)
        pose = poses if poses.ndim == 2 else poses[0]
        panel.annotate(serial, (pose[i, 3], pose[j, 3]), fontsize=7)
        panel.quiver(pose[i, 3], pose[j, 3], pose[i, 2], pose[j, 2], angles="xy", scale=8, width=0.006)
    panel.set(xlabel=f"{across} (m)", ylabel=f"{up} (m)", aspect="equal")
    panel.set_title("robot base (+), path, cameras and where they look", fontsize=8)


def _draw_time(panel: Any, done: Finished) -> None:
    panel.plot(done.seconds, done.tracks["gripper_positions"], color="tab:orange")
    panel.set(xlabel="s", ylim=(-0.05, 1.05))
    panel.set_ylabel("gripper, 0 open .. 1 closed", color="tab:orange")
    other = panel.twinx()
    other.plot(done.seconds, done.tracks["cumulative_distance_mm"], color="tab:blue")
    other.set_ylabel("travelled (mm)", color="tab:blue")


def _picture_of(episode: Episode, camera: Any, row: int) -> Any:
    from .lerobot import frames_of, video_of

    if frames := frames_of(camera):
        return _frame(frames[min(row, len(frames) - 1)], 0)
    video = video_of(episode, camera)
    return None if video is None else _frame(video, (camera.start or 0) + row)


def _frame(path: Path, number: int) -> Any:
    """A frame of a video, or a PNG, as (H, W, 3) RGB; None where there are fewer."""
    from ..media import video

    frame = next(islice(video.frames(path), number, None), None)
    return None if frame is None else frame.to_ndarray(format="rgb24")


def _figure(count: int, title: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EpisodedError(
            "needs_matplotlib", "matplotlib is not installed", "pip install 'episoded[view]'"
        ) from error
    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _PANEL[0], rows * _PANEL[1]), dpi=_DPI, layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).reshape(-1)
    for panel in grid[count:]:
        panel.set_axis_off()
    return figure, iter(grid)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="png", metadata={"Software": None})
