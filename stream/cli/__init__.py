"""The `weir` command: one module for each group of subcommands."""
