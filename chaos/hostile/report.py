"""What an attack observed, and what it found wrong."""

from collections import Counter
from dataclasses import dataclass, field

from stream.verify.account import Account


@dataclass
class Report:
    """Observations and faults of one attack.

    Attributes:
        written: Records per topic, good ones among them, that the broker accepted.
        refused: ``weir_refused_messages_total`` per topic, over all processes and both runs.
        rejects: Dead letters by code.
        peak_mb: Highest resident memory of each process.
        ended: Processes that exited unasked, with the end of their logs.
        stopped: Exit status of each process after SIGTERM.
        account: The verifier's account.
        faults: Faults, one sentence each.
        seconds: Duration of the attack.
    """

    written: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    peak_mb: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    stopped: dict[str, int] = field(default_factory=dict)
    account: Account | None = None
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
