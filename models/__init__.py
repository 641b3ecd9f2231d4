"""What stream and trainer agree on: tasks, feature spec, artifact, scorer; and the torch nets."""
