"""Repeats the decisions of all workers that wrote a journal, and compares them with the log.

One worker after the other: each has a policy of its own, which gets what the worker's policy got,
in the same order, so that workers need not be repeated side by side.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from models.errors import UserError
from models.settings import Settings
from stream.kafka.reader import TopicReader
from stream.messages.journal import BatchDecided, Entry, Started, Stopped
from stream.reproduce.comparison import Comparison
from stream.reproduce.journals import BrokenJournalError, find_journals, read_journal
from stream.reproduce.outputs import Outputs, read_headers, read_outputs, request_of
from stream.reproduce.player import NotReproducibleError, Player
from stream.reproduce.refused import RefusedRecords
from stream.reproduce.requests import Requests

SHOWN: Final = 10
"""Differences that are shown, the first of each kind."""

OnWorker = Callable[[str, int], None]
"""Called with a worker's name and how many of its decisions have been repeated."""


class ReproduceError(UserError, LookupError):
    """There is nothing to compare; the message says why."""


@dataclass(slots=True)
class WorkerReport:
    """What is known of one worker.

    Attributes:
        name: Its name.
        started_ms: When it started; None if its journal does not say.
        end: How its journal ends: ``stopped``, ``open`` (the worker runs, or was killed), or
            ``broken`` (the rest cannot be repeated).
        why: What is missing or wrong, of a broken one; where the rest begins.
        unrepeated: Batches of the rest; at least one if the journal cannot be read on.
    """

    name: str
    started_ms: int | None = None
    end: str = "open"
    why: str = ""
    unrepeated: int = 0


async def reproduce(settings: Settings, on_worker: OnWorker | None = None) -> dict[str, Any]:
    """Repeat and compare everything that is on the topics.

    Args:
        settings: Brokers, topics and registry; the policy is that of each worker.
        on_worker: Called after each batch.

    Returns:
        The report; its ``exact`` says whether every decision that was written since there are
        journals is reproduced.

    Raises:
        ReproduceError: If there is no journal, or no decision.
        TopicError: If a topic does not exist, or a batch of it is corrupt.
    """
    topics = settings.topics
    outputs = await read_outputs(settings)
    comparison = Comparison(outputs)
    workers: list[WorkerReport] = []
    async with AsyncExitStack() as stack:
        journal_reader, request_reader = [
            await stack.enter_async_context(TopicReader(settings.kafka, topic, keep=True))
            for topic in (topics.journal, topics.requests)
        ]
        journals, refused = await find_journals(journal_reader)
        if not journals:
            unreadable = (
                f"; {refused.count} records are of none, such as {refused.shown[0]}"
                if refused.count
                else ""
            )
            raise ReproduceError(
                f"{topics.journal}: no journal; workers write one with worker.journal = true"
                + unreadable
            )
        for journal in journals:
            comparison.add_worker()
            requests = Requests(request_reader)
            workers.append(report := WorkerReport(journal.worker))
            entries = read_journal(journal_reader, journal)
            await _repeat(settings, entries, requests, comparison, report, on_worker)
    if not len(outputs.key_M):
        raise ReproduceError(f"{topics.passed}, {topics.blocked}: no decision to compare with")
    return await _report(settings, outputs, comparison, workers, refused)


async def _repeat(
    settings: Settings,
    entries: AsyncIterator[Entry],
    requests: Requests,
    comparison: Comparison,
    report: WorkerReport,
    on_worker: OnWorker | None,
) -> None:
    """Repeat one worker, as far as its journal goes."""
    player: Player | None = None
    try:
        async for entry in entries:
            if report.why:
                report.unrepeated += isinstance(entry, BatchDecided)
                continue
            try:
                if isinstance(entry, Started):
                    report.started_ms = entry.at_ms
                    player = Player(entry, settings, requests)
                    continue
                assert player is not None  # a journal begins with a start
                repeated = await player.play(entry)
            except NotReproducibleError as error:
                report.end, report.why = "broken", str(error)
                report.unrepeated += isinstance(entry, BatchDecided)
                continue
            if repeated is not None:
                comparison.add(repeated.records, repeated.outcome)
                if on_worker is not None:
                    on_worker(report.name, comparison.counts[-1].decisions)
            if isinstance(entry, Stopped):
                report.end = "stopped"
    except BrokenJournalError as error:
        report.end, report.why = "broken", report.why or str(error)
        report.unrepeated = max(1, report.unrepeated)


async def _report(
    settings: Settings,
    outputs: Outputs,
    comparison: Comparison,
    workers: list[WorkerReport],
    refused: RefusedRecords,
) -> dict[str, Any]:
    differences = comparison.differences()
    missing = comparison.not_in_a_journal()
    shown = differences[:SHOWN]
    logged = await read_headers(settings, outputs, [each.output for each in shown])
    differing = [0] * len(workers)
    for each in differences:
        differing[each.worker] += 1
    written, before = len(outputs.key_M), len(comparison.before_the_journals())
    return {
        "exact": comparison.reproduced == written - before and not outputs.refused.count,
        "written": written,
        "reproduced": comparison.reproduced,
        "differ": len(differences),
        "not_in_a_journal": len(missing),
        "before_the_journals": before,
        "never_written": comparison.never_written(),
        "workers": [
            {
                "worker": report.name,
                "started_ms": report.started_ms,
                "journal": report.end,
                "batches": count.batches,
                "decisions": count.decisions,
                "reproduced": count.same,
                "differ": differ,
                "not_repeated_batches": report.unrepeated,
                "why": report.why,
            }
            for report, count, differ in zip(workers, comparison.counts, differing, strict=True)
        ],
        "first_differences": [
            {
                "request": _request(settings, outputs, each.output),
                "output": outputs.place(each.output),
                "worker": workers[each.worker].name,
                "batch": each.batch,
                "written": f"{_verdict(bool(outputs.passed_M[each.output]))} {header}",
                "repeated": _verdict(each.passed)
                + ("" if each.header is None else f" {each.header.decode()}"),
            }
            for each, header in zip(shown, logged, strict=True)
        ],
        "first_not_in_a_journal": [
            {"request": _request(settings, outputs, index), "output": outputs.place(index)}
            for index in missing[:SHOWN].tolist()
        ],
        "refused": [*refused.shown, *outputs.refused.shown],
        "refused_records": refused.count + outputs.refused.count,
    }


def _request(settings: Settings, outputs: Outputs, index: int) -> str:
    partition, offset = request_of(int(outputs.key_M[index]))
    return f"{settings.topics.requests}[{partition}]@{offset}"


def _verdict(passed: bool) -> str:
    return "pass" if passed else "block"
