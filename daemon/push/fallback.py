"""When the server is out of reach: encode an episode here, with the same chain, and push the videos later.

The frames stay: until the server has confirmed the videos, they are the only proof of what was recorded.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import threading
    from pathlib import Path

#: How often a request to stop is looked for, in seconds.
_LOOK_S: Final = 0.2


def encode(root: Path, episode: str, stop: threading.Event) -> Literal["encoded", "failed", "interrupted"]:
    """Finish an episode in place by the pipeline `default`, whatever that says about its frames: none is removed.

    In a process of its own: pushing itself needs no libav. `stop` ends it after the camera in hand; the next call goes
    on there.
    """
    command = [sys.executable, "-P", "-m", "episoded.daemon", "process", "--keep-inputs", str(root / episode)]
    # A session of its own: Ctrl-C reaches it once, by us, and not by the terminal as well, which would stop it at once.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            asked = _wait(process, stop)
        except BaseException:  # a second signal to us is one to it
            process.terminate()
            raise
    if process.returncode == 0:
        return "encoded"
    return "interrupted" if asked else "failed"


def _wait(process: subprocess.Popen[bytes], stop: threading.Event) -> bool:
    """Until it has ended; whether it was asked to."""
    asked = False
    while process.poll() is None:
        if stop.is_set() and not asked:
            process.terminate()
            asked = True
        time.sleep(_LOOK_S)
    return asked
