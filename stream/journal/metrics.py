"""The metrics of a journal."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class JournalMetrics:
    """What is written of a journal, and whether it is.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.bytes = Counter(
            "weir_journal_bytes",
            "Bytes written to the journal of decisions, uncompressed.",
            registry=registry,
        )
        self.ended = Gauge(
            "weir_journal_ended",
            "1 once the journal has ended because it could not be written for too long.",
            registry=registry,
        )
