"""`trajectory.h5` of a raw DROID episode: the robot's state, and what was known of its cameras.

Opened read-only and without HDF5's own locks, which network drop folders do not have.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from ..errors import EpisodedError, InputError, from_os_error
from ..media.lfs import refuse_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_STATE: Final = "observation/robot_state"
_RESTORE: Final = "copy this file again from the data set, then retry"
_EXTERNAL: Final = 1
_NAME: Final = re.compile(r"[\w./ -]+", re.ASCII)
#: Rows per second of a recording that can be believed.
_SLOWEST, _FASTEST = Fraction(1, 10), Fraction(240)


@dataclass(frozen=True)
class RobotState:
    """T rows of one episode.

    `cartesian` (T, 6): flange pose in the robot base, x y z in m, roll pitch yaw in rad (as in `processors.geometry`).
    `gripper` (T,): 0 open .. 1 closed. `joints` (T, 7) in rad. `read_ms` (T,): when the robot was read, Unix ms.
    `captured_ms`, `poses`, `offsets`, `right_poses`, `intrinsics`: by camera serial, of the cameras in `kinds` only;
    `poses` (T, 6) of the left lens in the base, `offsets` (T, 6) of the wrist camera in the flange, `intrinsics`
    (3, 3) of the first row. `kinds`: serial -> "wrist" or "external". `stale`: serials whose extrinsics are of other
    rigs and were not read. Optional parts that are absent or of a wrong shape are None or left out, and in `notes`.
    """

    cartesian: Floats
    gripper: Floats
    joints: Floats | None = None
    read_ms: NDArray[np.int64] | None = None
    captured_ms: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    poses: Mapping[str, Floats] = field(default_factory=dict)
    right_poses: Mapping[str, Floats] = field(default_factory=dict)
    offsets: Mapping[str, Floats] = field(default_factory=dict)
    intrinsics: Mapping[str, Floats] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """T."""
        return len(self.cartesian)


def read_state(path: Path) -> RobotState:
    """Everything that is used of a trajectory.

    Raises InputError: `h5_missing`, `h5_unreadable`, `lfs_pointer`, `state_missing`, `state_shape`, `trajectory_empty`.
    """
    with _opened(path) as file:
        return _Reading(path, file).state()


def read_extent(path: Path) -> tuple[int, Fraction | None]:
    """T, and the measured rate in rows per second (None: no usable time stamps). Raises what `read_state` raises."""
    with _opened(path) as file:
        reading = _Reading(path, file)
        stamps = file.get("observation/timestamp/robot_state/read_start")
        if getattr(stamps, "shape", None) != (reading.length,) or reading.length < 2:
            return reading.length, None
        return reading.length, measured_rate(int(stamps[0]), int(stamps[-1]), reading.length)


def measured_rate(first_ms: int, last_ms: int, rows: int) -> Fraction | None:
    """Rows per second; None where that is no rate at which a robot is read."""
    if last_ms <= first_ms or rows < 2:
        return None
    rate = Fraction(1000 * (rows - 1), last_ms - first_ms)
    return rate if _SLOWEST <= rate <= _FASTEST else None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = _hdf5()
    try:
        with path.open("rb") as plain:
            refuse_pointer(plain.read(64), path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError("h5_missing", f"{path} is missing: the robot's states", _RESTORE) from error
    except OSError as error:
        raise from_os_error(error) from error
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # h5py's, for damage in different places
        if isinstance(error, OSError) and error.errno:
            raise from_os_error(error) from error
        reason = str(error).partition("\n")[0]
        raise InputError("h5_unreadable", f"{path} is damaged or cut off: {reason}", _RESTORE) from error


def _hdf5() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise EpisodedError(
            "needs_h5py",
            "raw DROID episodes are HDF5 files, and h5py is not installed",
            "pip install 'episoded[droid]'",
        ) from error
    return h5py


class _Reading:
    """One open trajectory file."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        self.notes: list[str] = []
        self.length = int(self._needed("cartesian_position").shape[0])
        if self.length == 0:
            raise InputError("trajectory_empty", f"{path} has no rows", "record the episode again, or remove it")

    def state(self) -> RobotState:
        kinds = self._kinds()
        groups = self._group("observation/camera_extrinsics")
        known = {key.split("_")[0] for key in self._names(groups)}
        stale = tuple(sorted(known - kinds.keys())) if kinds else ()
        robot = self._group(_STATE)
        return RobotState(
            cartesian=self._required("cartesian_position", (6,)),
            gripper=self._required("gripper_position", ()),
            joints=self._optional(robot, "joint_positions", (7,)),
            read_ms=self._optional(self._group("observation/timestamp/robot_state"), "read_start", (), "int64"),
            captured_ms=self._by_serial("observation/timestamp/cameras", "_estimated_capture", kinds, (), "int64"),
            poses=self._by_serial("observation/camera_extrinsics", "_left", kinds, (6,)),
            right_poses=self._by_serial("observation/camera_extrinsics", "_right", kinds, (6,)),
            offsets=self._by_serial("observation/camera_extrinsics", "_left_gripper_offset", kinds, (6,)),
            intrinsics={serial: rows[0] for serial, rows in self._intrinsics(kinds).items()},
            kinds=kinds,
            stale=stale,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _needed(self, name: str) -> Any:
        import h5py

        dataset = self._at(f"{_STATE}/{name}")
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim == 0 or dataset.dtype.kind not in "fiu":
            raise InputError("state_missing", f"{self.path} has no numbers at {_STATE}/{name}", _RESTORE)
        return dataset

    def _at(self, name: str) -> Any:
        """What is called so, None when nothing is. Raises KeyError when that cannot be told: the file is damaged.

        `get` calls both the same: nothing there.
        """
        try:
            return self.file[name]
        except KeyError as error:
            if "doesn't exist" not in str(error):
                raise
        names: list[str] = []
        self.file.visit(names.append)
        if mangled := [found for found in names if not _NAME.fullmatch(str(found))]:
            raise KeyError(f"{mangled[0]!r} is no name that a recorder writes")
        return None

    def _required(self, name: str, shape: tuple[int, ...]) -> Any:
        dataset = self._needed(name)
        if dataset.shape != (self.length, *shape):
            raise InputError(
                "state_shape",
                f"{self.path}: {_STATE}/{name} has the shape {dataset.shape}, expected {(self.length, *shape)}",
                _RESTORE,
            )
        return dataset[()].astype("float64")

    def _optional(self, group: Any, name: str, shape: tuple[int, ...], dtype: str = "float64") -> Any:
        """The rows of a data set that need not be there; None, and a note where it is there but unusable."""
        dataset = group.get(name)
        if dataset is None:
            return None
        found = getattr(dataset, "shape", None)
        if found != (self.length, *shape) or dataset.dtype.kind not in "fiu":
            self.notes.append(f"{group.name}/{name} has the shape {found}, expected {(self.length, *shape)}: not used")
            return None
        try:
            return dataset[()].astype(dtype)
        except (OSError, RuntimeError, ValueError) as error:  # damage in one place of the file
            self.notes.append(f"{group.name}/{name} cannot be read: {error}")
            return None

    def _group(self, name: str) -> Any:
        import h5py

        group = self.file.get(name)
        return group if isinstance(group, h5py.Group) else {}

    def _names(self, group: Any) -> list[str]:
        """What is in a group. A name that is no text any more is damage in one place of the file."""
        names = list(group)
        self.notes += [
            f"{group.name} has a damaged name, {name!r}: not used" for name in names if isinstance(name, bytes)
        ]
        return [name for name in names if isinstance(name, str)]

    def _kinds(self) -> dict[str, str]:
        """The cameras that were there, and which rode on the wrist: the one list that holds no stale ones."""
        kinds = {}
        group = self._group("observation/camera_type")
        for serial in self._names(group):
            try:
                first = int(group[serial][()].reshape(-1)[0])
            except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError):
                self.notes.append(f"observation/camera_type/{serial} cannot be read: not used")
            else:
                kinds[serial] = "external" if first == _EXTERNAL else "wrist"
        if not kinds:
            self.notes.append("observation/camera_type is missing: the cameras are those of the metadata")
        return kinds

    def _by_serial(
        self, name: str, ending: str, kinds: Mapping[str, str], shape: tuple[int, ...], dtype: str = "float64"
    ) -> dict[str, Any]:
        group = self._group(name)
        serials = [key.removesuffix(ending) for key in self._names(group) if key.endswith(ending)]
        wanted = [serial for serial in serials if serial.isdigit() and (not kinds or serial in kinds)]
        found = {serial: self._optional(group, f"{serial}{ending}", shape, dtype) for serial in wanted}
        return {serial: rows for serial, rows in found.items() if rows is not None}

    def _intrinsics(self, kinds: Mapping[str, str]) -> dict[str, Any]:
        return self._by_serial("observation/camera_intrinsics", "_left", kinds, (3, 3))
