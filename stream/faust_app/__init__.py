"""What both Faust apps share: options, start and stop, readiness and liveness."""
