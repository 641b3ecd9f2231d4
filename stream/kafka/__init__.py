"""The Kafka client: connections, topics, rights, offsets, and reading within bounds."""
