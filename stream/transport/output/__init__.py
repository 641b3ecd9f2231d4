"""The writing half of the transport: batches, sinks, transactions."""
