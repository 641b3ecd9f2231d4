"""A check, before anything else is imported, that ``models``, ``stream``, ``trainer`` are Weir's.

These names are common. Python looks into the folder of the script, or the working directory, before
it looks at installed packages: a package of the same name there would be imported instead.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parents[1]

for _name in ("models", "stream", "trainer"):
    _spec = find_spec(_name)
    if _spec is None or _spec.origin is None or Path(_spec.origin).resolve().parents[1] != _HERE:
        _found = "is missing" if _spec is None else f"is hidden by {_spec.origin or _name}"
        raise ImportError(
            f"Weir's package {_name!r} {_found}; rename yours, move it into a package, or run "
            "Python with -P (or PYTHONSAFEPATH=1), which leaves the working directory out"
        )
