"""From examples to announced artifacts: store, training, rebuilds, the trainer's daemon."""
