"""Trainer's subcommands of `weir`."""
