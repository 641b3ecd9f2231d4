"""``[trainer]``: the trainer's example store, and when it retrains."""

from pydantic import Field

from models.settings.section import Port, Section


class TrainerSettings(Section):
    """The trainer daemon.

    Attributes:
        store: Folder of the example store, or a URL that Delta Lake takes (``s3://bucket/path``).
        rebuild_examples: Number of new examples without a masked label that starts a rebuild.
        rebuild_period_s: Seconds after which a rebuild starts with any number of new examples.
        poll_s: Seconds that one poll of the examples topic waits.
        quick: Whether to train with the small effort of a trial run, for demonstrations.
        seed: Seed of everything random in training.
        scratch: Folder on a disk for the rows of a rebuild, some 800 bytes each; empty for
            ``scratch`` in the store, which then must be a folder. It must not be shared: its
            folders ``rebuild-*`` are removed.
        max_rebuild_rows: Maximum number of requests in a rebuild, the newest ones.
        retention_days: Days of event time that the store keeps. Older records are refused; it must
            be longer than the longest attribution window.
        keep_negatives: Share of the examples without any event that is kept once all their labels
            are final; their weight grows by its inverse.
        metrics_host: Address on which metrics and probes are served.
        metrics_port: Port on which metrics and probes are served; 0 picks a free one.
    """

    store: str = "var/examples"
    rebuild_examples: int = Field(default=100_000, ge=100)
    rebuild_period_s: float = Field(default=86_400.0, gt=0)
    poll_s: float = Field(default=1.0, gt=0)
    quick: bool = False
    seed: int = 0
    scratch: str = ""
    max_rebuild_rows: int = Field(default=5_000_000, ge=100)
    retention_days: float = Field(default=30.0, gt=0, le=3_660)
    keep_negatives: float = Field(default=1.0, gt=0, le=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0
