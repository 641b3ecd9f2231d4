# ruff: noqa: INP001  a script for the images, of no package
"""Health of the Weir process in this container: does its metrics endpoint answer?

Reads the port from ``WEIR_WORKER__METRICS_PORT``, as Weir itself does. Standard library only, so
that the images need no curl.
"""

import os
import sys
import urllib.request


def main() -> int:
    """Exit status: 0 if the endpoint answers with metrics of Weir, else 1."""
    port = os.environ.get("WEIR_WORKER__METRICS_PORT", "")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=3) as answer:
            healthy = b"weir_" in answer.read()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"WEIR_WORKER__METRICS_PORT={port!r}: no metrics there: {error}\n")
        return 1
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
