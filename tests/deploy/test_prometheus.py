"""A real Prometheus scrapes real processes, and answers every question of board and alerts."""

import asyncio
import re
import time
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from prometheus_client import start_http_server

from chaos.soak.prometheus_server import Prometheus, available, prometheus
from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.client import client_options
from stream.kafka.topics import ensure_topics
from stream.messages import ModelAnnouncement, Outcome
from stream.transport import ChunkSink, Outgoing
from tests.deploy import exported
from tests.deploy.deployment import ALERTS
from tests.deploy.test_observability import alert_queries, board_queries

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="no prometheus"),
]
DEADLINE_S = 90.0
VARIABLES = {"$worker": ".*", "$task": "click", "$__rate_interval": "1m"}


async def traffic(settings: Settings, number: int) -> None:
    """A second of requests, one of them broken, and of outcomes; nonsense where it is refused."""
    now_ms, topics = int(time.time() * 1000), settings.topics
    ids = [f"r{number}-{i}" for i in range(200)]
    requests = [
        Outgoing(
            name.encode(),
            orjson.dumps({"id": name, "imp": [{}], "site": {"id": f"s{i % 7}"}}),
            now_ms,
        )
        for i, name in enumerate(ids)
    ]
    outcomes = [
        Outgoing(name.encode(), Outcome(name, "click", now_ms + 1).to_bytes(), now_ms)
        for name in ids
    ]
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(topics.requests, 0, [*requests, Outgoing(b"x", b"{broken", now_ms)])
        await sink.send(topics.outcomes, 0, [*outcomes, Outgoing(b"x", b"{broken", now_ms)])
        await sink.send(topics.control, 0, [Outgoing(b"*", b"nonsense", now_ms)])
        missing = ModelAnnouncement(f"v{number}", "/nothing", "0" * 64, now_ms)
        await sink.send(topics.models, 0, [Outgoing(b"default", missing.to_bytes(), now_ms)])


def selectors(query: str) -> list[str]:
    """Every selector of a query, its range and offset left out."""
    return re.findall(r"\b(?:weir|process)_\w+(?:\{[^}]*\})?", query)


def filled(query: str) -> str:
    """A query of the board with its variables set."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


async def test_every_panel_and_alert_finds_its_series(tmp_path: Path) -> None:
    """With all roles up and traffic of all kinds, no panel is empty and no alert asks in vain."""
    panels = [filled(query) for query in board_queries() if not query.startswith("label_values")]
    wanted = {*panels, *(each for query in alert_queries() for each in selectors(query))}
    ports = {role: free_port() for role in ("worker", "feedback")}
    recorded = {
        name: start_http_server(0, "127.0.0.1", registry)
        for name, registry in (
            ("trainer", exported.trainer()),
            ("topics", exported.incidents()),
            ("shadow", exported.shadow()),
        )
    }
    ports |= {name: server.server_port for name, (server, _) in recorded.items()}
    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings = Settings().override(
            {"kafka.bootstrap": broker.bootstrap, "kafka.session_timeout_s": 6.0}
        )
        await ensure_topics(settings.kafka, settings.topics)
        children = [
            ChildProcess(
                role,
                ["worker", *arguments],
                tmp_path / f"{role}.log",
                settings.override({"worker.metrics_port": ports[role]}).environment(),
            )
            for role, arguments in (("worker", ()), ("feedback", ("--role", "feedback")))
        ]
        async with children[0], children[1]:
            with prometheus(ports, tmp_path / "prometheus") as server:
                missing = await asked(server, wanted, settings, children)
                assert sorted(missing) == []
                assert {rule["name"] for rule in server.rules()} == {
                    rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]
                }
                assert [rule for rule in server.rules() if rule["health"] != "ok"] == []
                assert server.fired(600) == {
                    "WeirMessagesRefused", "WeirModelRefused",
                    "WeirRecordsLost", "WeirOffsetsMissing", "WeirOutputsRefused",  # recorded ones
                }  # fmt: skip
    for server_of_one, thread in recorded.values():
        server_of_one.shutdown()
        thread.join()


async def asked(
    server: Prometheus, wanted: set[str], settings: Settings, children: list[ChildProcess]
) -> set[str]:
    """What still has no answer when the deadline has come."""
    deadline = time.monotonic() + DEADLINE_S
    for number in range(10_000):
        await traffic(settings, number)
        for child in children:
            child.check()
        with suppress(OSError):  # not up yet
            wanted = {query for query in wanted if not await asyncio.to_thread(server.query, query)}
        if not wanted or time.monotonic() > deadline:
            break
        await asyncio.sleep(1)
    return wanted
