"""Runs the `weir` command: ``python -m stream.cli``."""

from stream.cli.main import main

main()
