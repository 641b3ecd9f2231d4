"""Requests that an interceptor with the tiny artifact decided, as records of its output topics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from models.data.request_files import FileRecord
from models.settings import Settings
from stream.intercept.interceptor import Interceptor
from stream.intercept.loaded_model import load_model
from stream.intercept.metrics import NoMetrics
from stream.policy import Policy
from tests.tiny_artifact import TASKS

START_MS = 1_700_000_000_000


def tiny_settings(settings: Settings, artifact: Path, **policy: Any) -> Settings:
    """Settings of the tiny artifact."""
    tree = {
        "rate": 0.4,
        "weights": {"click": 1.0, "online": 3.0},
        "uncertainty_source": "own",
        "direct_share": 0.05,
        "explore": 0.1,
    } | policy
    tasks = [task.model_dump() for task in TASKS]
    whole = settings.model_dump() | {"tasks": tasks, "policy": tree}
    return Settings(**whole).override({"model.artifact": str(artifact)})


def request(number: int, **more: Any) -> bytes:
    """A bid request of one of 23 sites."""
    body = {"id": f"r{number}", "imp": [{}], "site": {"id": f"s{number * 7 % 23}"}}
    return orjson.dumps(body | more)


@dataclass(frozen=True, slots=True)
class Log:
    """Records by topic: of the requests, and of what was decided."""

    requests: list[FileRecord]
    passed: list[FileRecord]
    blocked: list[FileRecord]
    rejected: list[FileRecord]


def decide(settings: Settings, values: list[bytes]) -> Log:
    """Decide requests of one partition as a worker does."""
    topics = settings.topics
    policy = Policy(settings.policy, settings.task_set)
    interceptor = Interceptor(policy, NoMetrics(), max_value_bytes=settings.worker.max_value_bytes)
    interceptor.model = load_model(settings.model.artifact, settings.task_set, settings)
    records = [
        FileRecord(topics.requests, 0, n, b"k", value, START_MS + n)
        for n, value in enumerate(values)
    ]
    made = interceptor.intercept(records)
    outputs = [
        [
            FileRecord(topic, 0, n, out.key, out.value, out.timestamp, tuple(out.headers))
            for n, out in enumerate(outs)
        ]
        for topic, outs in (
            (topics.passed, made.passed),
            (topics.blocked, made.blocked),
            (topics.rejected, made.rejected),
        )
    ]
    return Log(records, *outputs)


def with_header(record: FileRecord, **changes: Any) -> FileRecord:
    """A record whose decision says something else."""
    *others, (name, value) = record.headers
    changed = orjson.dumps(orjson.loads(value) | changes)
    return replace_headers(record, (*others, (name, changed)))


def replace_headers(record: FileRecord, headers: tuple[tuple[str, bytes], ...]) -> FileRecord:
    """A record with other headers."""
    return record._replace(headers=headers)
