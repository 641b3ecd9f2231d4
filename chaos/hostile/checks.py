"""Conditions after an attack; each one that fails is a fault in the report."""

import asyncio
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import orjson

from chaos.hostile.progress import made_examples, stored_clicks
from chaos.hostile.report import Report
from chaos.hostile.values import GOOD
from models.settings import Settings
from stream.kafka.reader import read_topic

MAX_RSS_MB: Final = 512
LONGEST_LINE: Final = 6_000
"""Characters of a log line; that of a process is at most 4,096, and a prefix."""
COORDINATES: Final = re.compile(r"\S+\[\d+\]@\d+")


class Checks:
    """Checks an attack after its end.

    Args:
        settings: Brokers, topics, store.
        report: Observations; takes the faults.
        sound: Values of the good bid requests.
        clicked: Ids of those that were clicked.
        roles: Names of the processes.
        folder: Folder of their logs.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report,
        sound: Sequence[bytes],
        clicked: set[str],
        roles: Collection[str],
        folder: Path,
    ) -> None:
        self._settings = settings
        self._report = report
        self._sound = sound
        self._clicked = clicked
        self._roles = roles
        self._folder = folder

    async def run(self) -> None:
        """Run all checks."""
        self._check_processes()
        passed = await self._check_requests()
        if "feedback" in self._roles:
            await self._check_labels(passed)
        self._check_refusals()
        self._check_logs()

    def _check_processes(self) -> None:
        """No process exits by itself or takes too much memory; the account is exact."""
        report = self._report
        report.faults += [f"{name} ended: {log}" for name, log in report.ended.items()]
        report.faults += [
            f"{name} ended with status {status}"
            for name, status in report.stopped.items()
            if status
        ]
        report.faults += [
            f"{name} took {peak:.0f} MiB"
            for name, peak in report.peak_mb.items()
            if peak > MAX_RSS_MB
        ]
        assert report.account is not None
        if not report.account.exact:
            report.faults.append(f"not exact: {report.account}")

    async def _check_requests(self) -> set[str]:
        """Every good request is decided once, with its own bytes; returns the ids that passed."""
        topics = self._settings.topics
        decided: Counter[bytes] = Counter()
        passed = set()
        for topic in (topics.passed, topics.blocked):
            async for record in read_topic(self._settings.kafka, topic):
                if record.key == GOOD:
                    decided[record.value or b""] += 1
                    if topic == topics.passed:
                        passed.add(orjson.loads(record.value or b"")["id"])
        wrong = [value for value in self._sound if decided[value] != 1]
        if wrong:
            self._report.faults.append(f"{len(wrong)} good requests not decided once: {wrong[:2]}")
        return passed

    async def _check_labels(self, passed: set[str]) -> None:
        """A good request that passed has one example; in the store, those clicked are positive."""
        good = {orjson.loads(value)["id"] for value in self._sound} & passed
        lost = good - await made_examples(self._settings, good)
        if lost or not good:
            self._report.faults.append(f"{len(lost)} of {len(good)} passed have no example")
        if "trainer" in self._roles:
            stored = await asyncio.to_thread(stored_clicks, self._settings)
            wrong = [
                name
                for name in good
                if name not in stored or (stored[name] == 1) != (name in self._clicked)
            ]
            if wrong or not good & self._clicked:
                self._report.faults.append(
                    f"{len(wrong)} of {len(good)} labels of click in the store are wrong, such as "
                    f"{wrong[:3]}; {len(good & self._clicked)} passed requests were clicked"
                )

    def _check_refusals(self) -> None:
        """Something was refused of every topic that the processes read."""
        report, topics = self._report, self._settings.topics
        read = {topics.control, topics.models, topics.consumption}
        read |= {topics.rate_state, topics.rate_summaries}
        if "trainer" in self._roles:
            read |= {topics.examples, topics.outcomes}
        report.faults += [
            f"{topic}: nothing was refused of {report.written[topic]} records"
            for topic in sorted(read)
            if report.written[topic] and not report.refused[topic]
        ]

    def _check_logs(self) -> None:
        """Refusals are logged with coordinates; there are no tracebacks and no endless lines."""
        refused = 0
        for log in sorted(self._folder.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if line.startswith("Traceback"):
                    self._report.faults.append(f"{log.name}: a traceback")
                if len(line) > LONGEST_LINE:
                    self._report.faults.append(f"{log.name}: a line of {len(line)} characters")
                refused += bool(COORDINATES.search(line))
        if self._report.refused and not refused:
            self._report.faults.append("no line of a log has a refusal's coordinates")
