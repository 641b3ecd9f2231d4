"""Brokers on this machine (the embedded one, and Apache Kafka), and the children of the demo."""
