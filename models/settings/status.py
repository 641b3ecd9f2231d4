"""``[status]``: where `weir status` finds the processes."""

from models.settings.section import Section


class StatusSettings(Section):
    """The metrics endpoints that `weir status` reads.

    Attributes:
        endpoints: ``HOST:PORT`` of each process, or of each service: all addresses of a host are
            read. Empty for the ports of this machine that ``worker.metrics_port`` and
            ``trainer.metrics_port`` name.
    """

    endpoints: tuple[str, ...] = ()
