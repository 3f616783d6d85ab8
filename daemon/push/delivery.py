"""One shipment on its way: its bytes sent and staged; then compared there, given their place, and remembered here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from episoded.processors.destinations.errors import TransientError
from episoded.processors.errors import InputError

from . import shipment as shipments
from .server import DamagedError, MovedOnError, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pusher import Display
    from .receipts import Receipts
    from .server import Server
    from .shipment import Shipment

#: How often in one attempt a step is repeated that damaged bytes, or the server's own work, got in the way of.
_REPEATS: Final = 5


@dataclass
class Delivery:
    """`shipment` on its way to `server`; its two steps may run in different threads, one after the other.

    `known`: the digest of its manifest, where a receipt tells that the server confirmed it before. `recorded`: what the
    shipment is with its frames instead of the videos made of them here.
    """

    server: Server
    receipts: Receipts
    shipment: Shipment
    known: str
    recorded: Callable[[], Shipment]
    _seen: Seen = field(default_factory=lambda: Seen("absent"))
    _manifest: bytes = b""
    _digest: str = ""

    def stage(self, display: Display, rsync_options: Sequence[str]) -> None:
        """Send what is missing there. Raises TransientError, BlockedError, and what is wrong with the data."""
        self._seen = self.server.look(self.shipment)
        if self._seen.state == "absent" and not self.shipment.verified:
            self._send(display, rsync_options)  # what was sent is hashed while the next is
            return
        self._hash()
        if self._seen.state != "absent" and self._seen.digest != self._digest:
            self._be_as_recorded()
            self._refuse_another()
        if self._seen.state == "absent" or self._seen.digest != self._digest:
            self._send(display, rsync_options)

    def confirm(self, rsync_options: Sequence[str]) -> bool:
        """Have it compared there, put in its place and marked pending, and write the receipt; whether that was to do.

        Raises TransientError, BlockedError, RefusedError, InputError.
        """
        self._hash()
        arrives = not (self._seen.state == "received" and self._seen.digest == self._digest)
        if arrives:
            self._bring(rsync_options)
        if not self.known or arrives:
            self.receipts.write(self.shipment, self._digest)
        return arrives

    def _hash(self) -> None:
        """What it is; a receipt knows it without reading the files again."""
        if not self._digest and not self.known:
            self._manifest = self._as_packed()
        self._digest = self._digest or self.known or _sha256(self._manifest)

    def _as_packed(self) -> bytes:
        """Its manifest, of files that are still those that the receipt will list: sending them took a while."""
        try:
            manifest = self.shipment.manifest()
            if self.shipment.is_as_packed():
                return manifest
        except FileNotFoundError:
            pass
        raise self._still_written()

    def _be_as_recorded(self) -> None:
        """What arrived before the server was out of reach, and we encoded: it did not come to our receipt."""
        if not self.shipment.verified:
            return
        recorded = self.recorded()
        manifest = recorded.manifest()
        if _sha256(manifest) == self._seen.digest:
            self.shipment, self._manifest, self._digest = recorded, manifest, self._seen.digest

    def _send(self, display: Display, rsync_options: Sequence[str]) -> None:
        display.begun(self.shipment)
        self.server.send(self.shipment, display.moved, rsync_options)

    def _bring(self, rsync_options: Sequence[str]) -> None:
        self._manifest = self._manifest or self.shipment.manifest()
        for repeat in range(_REPEATS):
            try:
                self._settle()
                return
            except DamagedError:
                self._refuse_changed()
                if repeat + 1 == _REPEATS:
                    raise
                self.server.send(self.shipment, options=[*rsync_options, "--checksum"])
            except MovedOnError:
                if repeat + 1 == _REPEATS:
                    raise
                self._seen = self.server.look(self.shipment)

    def _settle(self) -> None:
        lines: dict[str, bytes] = {}
        whole: dict[str, tuple[bytes, bytes | None]] = {}
        root = self.shipment.root
        if self.shipment.grows:
            lines = shipments.new_lines(root, self.shipment.id)
            for path in shipments.shared_files(root)[0]:
                whole[path] = ((root / path).read_bytes(), None)
            self._merge(whole)
        self.server.settle(self.shipment, self._manifest, self._digest, lines, whole)

    def _merge(self, whole: dict[str, tuple[bytes, bytes | None]]) -> None:
        """Bring together what recorder and server say in the files that both of them write."""
        lines, confirmed = shipments.episode_lines(self.shipment.root), self.receipts.confirmed()
        known = [lines[name] for name in lines if name == self.shipment.id or name in confirmed]
        shared = self._seen.shared if self.server.left is None else self.server.left
        try:
            for path in (shipments.INFO, shipments.AGGREGATE):
                if path not in whole:
                    continue
                ours, theirs = whole[path][0], shared.get(path)
                if path == shipments.INFO:
                    merged = shipments.merged_info(ours, theirs, known)
                else:
                    merged = shipments.merged_statistics(ours, theirs, whole[shipments.INFO][0])
                whole[path] = merged, theirs
        except ValueError as error:
            raise TransientError(
                "meta_unsettled", f"a file of meta/, here or on the server, is half written: {error}", "tried again"
            ) from error

    def _refuse_another(self) -> None:
        if self.shipment.id and self._seen.digest != self._digest:
            raise InputError(
                "episode_differs",
                f"{self.server} has another {self.shipment.id} already",
                "it belongs to another recording, or was recorded anew: push under another name (--name)",
            )

    def _refuse_changed(self) -> None:
        """Damage on the way is rare; a recorder that goes on writing is not."""
        if self.shipment.manifest() != self._manifest:
            raise self._still_written()

    def _still_written(self) -> TransientError:
        return TransientError(
            "changed_while_sent",
            f"{self.shipment.name} of {self.shipment.root} is still being written",
            "tried again; nothing of it is visible on the server",
        )


def _sha256(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()
