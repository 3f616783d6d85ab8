"""When the server is out of reach: encode an episode here, with the same chain, and push the videos later."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def encode(root: Path, episode: str) -> bool:
    """Finish an episode in place; whether it is ready. In a process of its own: pushing itself needs no libav.

    What becomes of its frames is for the pipeline `default` of this computer's configuration to say.
    """
    command = [sys.executable, "-P", "-m", "episoded.daemon", "process", str(root / episode if episode else root)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0
