"""The trainer's service: when a rebuild starts, the daemon around it, and what it exports."""
