"""What both Faust apps share: options, start and stop, what the probes ask."""
