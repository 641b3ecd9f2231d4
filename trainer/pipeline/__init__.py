"""From examples to published artifacts: store, training, rebuilds."""
