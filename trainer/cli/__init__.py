"""The trainer's subcommands of ``weir``."""
