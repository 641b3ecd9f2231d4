# ruff: noqa: INP001  a script for the images, of no package
"""Health of the Weir process in this container: is it ready?

Asks ``/ready`` on the port in ``METRICS_PORT``, which the image sets as it sets Weir's own.
Standard library only, so that the images need no curl.
"""

import os
import sys
import urllib.error
import urllib.request


def main() -> int:
    """Exit status: 0 if the process is ready, otherwise 1 with the reason on stderr."""
    port = os.environ.get("METRICS_PORT", "")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=3):
            return 0
    except urllib.error.HTTPError as error:
        sys.stderr.write(error.read().decode())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"METRICS_PORT={port!r}: nothing answers there: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
