"""Brokers on this machine: the embedded one, and Apache Kafka from Maven's jars."""
