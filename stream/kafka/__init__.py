"""The Kafka client: connections, administration, topics, rights, offsets, and bounded reading."""
