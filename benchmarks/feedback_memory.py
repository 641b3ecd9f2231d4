"""What a waiting request costs the feedback join: memory (RSS) and CPU time.

    PYTHONPATH=. python benchmarks/feedback_memory.py [REQUESTS]

Requests of the default spec with ids of 36 characters, one a millisecond, as a feedback worker
keeps them; then one outcome in ten. The budget must be close to what the process really grew by.
"""

import gc
import resource
import sys
import time
import uuid
from pathlib import Path

import numpy as np

from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS
from stream.feedback.join import FeedbackJoin
from stream.feedback.pending import PendingRequest
from stream.feedback.table import JoinState
from stream.messages import Decision, Outcome, Reason

START = 1_800_000_000_000
CHUNK = 500


def rss_bytes() -> int:
    """Resident memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(requests: int) -> None:
    """Fill a join and print what it cost."""
    spec = FeatureSpec.load("openrtb")
    rng = np.random.default_rng(1)
    ids_NC = rng.integers(0, spec.rows, (CHUNK, spec.columns)).astype(np.uint16)
    decision = Decision("20260101T000000-0123abcd", 0.125, 0.5, Reason.SCORE, 1.0, 7)
    state = JoinState()
    join = FeedbackJoin(DEFAULT_TASKS, 1.0, 60.0, state, budget_bytes=2**40)
    gc.collect()
    before, busy_s = rss_bytes(), 0.0
    for first in range(0, requests, CHUNK):
        chunk = [
            (
                str(uuid.UUID(int=rng.integers(2**62) << 64 | number)).encode(),
                PendingRequest(
                    START + number, 0, number, spec.hash, decision, ids_NC[number - first]
                ).to_bytes(),
            )
            for number in range(first, min(first + CHUNK, requests))
        ]
        began = time.process_time()
        for number, (key, raw) in enumerate(chunk):
            join.add_request(key, raw, START + requests)
            if number % 10 == 0:
                join.add_outcome(Outcome(key.decode(), "click", START + first + CHUNK + 1))
        join.emit()
        state.take_changes(join.progress())
        busy_s += time.process_time() - began
    gc.collect()
    grown = rss_bytes() - before
    print(f"{join.pending} requests wait: {grown / join.pending:.0f} bytes each of memory")
    print(f"counted: {join.held_bytes / join.pending:.0f} bytes each")
    print(f"{busy_s / requests * 1e6:.1f} us of CPU per request")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
