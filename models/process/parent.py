"""Child processes that end with their parent, so that its ``kill -9`` leaves none behind.

The parent passes its process id in the environment; the child calls :func:`end_with_parent` first.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Final

PARENT_VARIABLE: Final = "WEIR_PARENT_PID"
_PR_SET_PDEATHSIG: Final = 1


def end_with_parent() -> None:
    """End this process (SIGTERM) with its parent, if the environment names one."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    else:
        threading.Thread(target=_watch_parent, args=(int(parent),), daemon=True).start()
    if os.getppid() != int(parent):
        sys.exit("the parent process is gone")


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
