"""Where the time of every chunk goes: spans as OpenTelemetry names them, and their summary."""
