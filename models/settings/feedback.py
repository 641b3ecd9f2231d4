"""``[feedback]``: the join of passed requests with their outcomes."""

from pydantic import Field

from models.settings.section import Section


class FeedbackSettings(Section):
    """The feedback worker's join.

    Attributes:
        time_scale: Divisor of every attribution window; 1 in production, larger in demonstrations
            whose days last seconds.
        lateness_s: Seconds after the end of a window during which its outcomes are still accepted.
        max_memory_bytes: Maximum memory of the requests and outcomes that a feedback worker holds,
            over all its partitions; the process itself takes another 250 MB. If more requests
            arrive than fit until their last window closes, the join keeps a sample by request id.
    """

    time_scale: float = Field(default=1.0, gt=0)
    lateness_s: float = Field(default=60.0, ge=0)
    max_memory_bytes: int = Field(default=536_870_912, ge=4_194_304)
