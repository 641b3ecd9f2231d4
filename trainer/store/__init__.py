"""The trainer's store: requests and outcomes by event time, joined when they are read."""
