"""What runs on the bus: transport, agents, policy, feedback, replay, metrics, command line."""
