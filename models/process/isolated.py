"""Child processes that run a module of Weir, independent of the working directory's content.

``python -m NAME`` searches the working directory first, where a user's own package ``models`` or
``stream`` would run instead, and ``PYTHON...`` variables change what a child imports. Children are
therefore started isolated (``-I``) with the import path of the parent.
"""

import json
import sys
from pathlib import Path
from typing import Final

_BOOT: Final = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_SOURCE: Final = str(Path(__file__).resolve().parents[2])


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as ``python -m MODULE ARGUMENTS`` would in this process.

    Args:
        module: Full name of a module with a ``__main__`` part.
        arguments: Its ``sys.argv[1:]``.
    """
    paths = [path for path in sys.path if path and Path(path).is_absolute()]
    if _SOURCE not in paths:
        paths.append(_SOURCE)
    return [sys.executable, "-I", "-c", _BOOT, json.dumps(paths), module, *arguments]
