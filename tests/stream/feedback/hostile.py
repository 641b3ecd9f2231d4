"""Malformed records for every topic that feedback and trainer read.

Each generator is endless and seeded. They know the formats: most records are nearly valid.
"""

import json
import random
from collections.abc import Iterator

from stream.messages import Decision, Outcome, Reason, TrainingExample
from stream.transport import Outgoing

TIMES = (-1, 0, 1, 1_700_000_000_000, 2**53, 2**62, 2**63 - 1)
NUMBERS = (*TIMES, 2**63, 2**64, 10**400, -(2**70), 1e308, -1e308, 0.5, float("nan"), float("inf"))
TEXTS = ("", "x", "\x00", "click", "é" * 2_000, "a" * 5_000, "\n\x1b[31m", "null", "1e999")
DECISION = Decision("m", 0.5, None, Reason.SCORE, 1.0, 3)
NOW = 1_800_000_000_000


class Hostile:
    """Records from one seed.

    Args:
        seed: Seed of all records.
        now_ms: Time around which records are not refused for their time alone.
    """

    def __init__(self, seed: int, now_ms: int = NOW) -> None:
        self._rng = random.Random(seed)
        self._now_ms = now_ms

    def passed(self) -> Iterator[Outgoing]:
        """For the pass topic."""
        rng = self._rng
        request = {"id": "h", "imp": [{"id": "1"}]}
        while True:
            value = self._document(request, DECISION.to_bytes())
            header = rng.choice(
                [None, b"x" * 70_000, self._document(json.loads(DECISION.to_bytes()))]
            )
            names = rng.choice([["weir"], ["weir", "weir"], ["x"], [], ["weir", "y"]])
            headers = [(name, header) for name in names]
            yield Outgoing(self._bytes(), value, self._time(), headers)

    def outcomes(self) -> Iterator[Outgoing]:
        """For `outcomes`."""
        while True:
            fields = json.loads(Outcome("h", "click", self._now_ms).to_bytes())
            yield Outgoing(self._bytes(), self._document(fields), self._time())

    def examples(self) -> Iterator[Outgoing]:
        """For `training-examples`."""
        example = TrainingExample("h", self._now_ms, "spec", [1, 2], DECISION, 2.0)
        fields = json.loads(example.to_bytes())
        while True:
            yield Outgoing(self._bytes(), self._document(fields), self._time())

    def _time(self) -> int:
        """Of a record; later ones than an hour ahead are refused by Kafka itself."""
        return self._rng.choice([0, 1, 1_700_000_000_000, self._now_ms])

    def _bytes(self) -> bytes | None:
        rng = self._rng
        texts = [b"", b"{", b"[" * 3_000, b"\xff\xfe", rng.randbytes(rng.randrange(60))]
        return rng.choice([None, *texts])

    def _document(self, fields: dict[str, object], *whole: bytes) -> bytes | None:
        """A JSON object with fields replaced, or something else entirely."""
        rng = self._rng
        if rng.random() < 0.3:
            return rng.choice([self._bytes(), *whole])
        changed = dict(fields)
        for name in rng.sample(sorted(fields), rng.randrange(1, len(fields) + 1)):
            changed[name] = self._value()
        if rng.random() < 0.1:
            changed["extra"] = "x" * rng.choice([10, 20_000, 300_000])
        return json.dumps(changed).encode()

    def _value(self) -> object:
        rng = self._rng
        plain = rng.choice([None, True, *NUMBERS, *TEXTS])
        nested = [[plain] * rng.randrange(4), {"x": plain}, {"click": plain, "deal": 7}, [[[]]]]
        return rng.choice([plain, plain, *nested])
