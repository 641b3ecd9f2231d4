"""``[feedback]``: from passed requests and outcomes to labelled training examples."""

from pydantic import Field

from models import bounds
from models.settings.section import Section


class FeedbackSettings(Section):
    """Which passed requests become examples, and when their labels are final.

    Attributes:
        keep_share: Share of the passed requests that become training examples, by the hash of
            their id; each example then has the inverse as its weight.
        time_scale: Divisor of every attribution window; 1 in production, larger in demonstrations
            whose days last seconds.
        lateness_s: Seconds after the end of a window after which a missing outcome counts as no
            event.
    """

    keep_share: float = Field(default=1.0, ge=bounds.MIN_KEEP_SHARE, le=1)
    time_scale: float = Field(default=1.0, gt=0)
    lateness_s: float = Field(default=60.0, ge=0)
