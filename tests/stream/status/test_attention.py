"""What needs attention, and the facts that it comes from."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream.doctor.finding import Level
from stream.status.attention import MAX_LAG, attention
from stream.status.endpoints import Endpoint, EndpointError, Samples, read_endpoints
from stream.status.facts import (
    BrokerFacts,
    LabelFacts,
    ProcessFacts,
    RebuildFacts,
    RegistryFacts,
    Status,
    TopicFacts,
    TrainerFacts,
    WorkerFacts,
)
from stream.status.processes import processes, trainers, workers
from stream.status.screen import ago
from tests.deploy import exported

REBUILD = RebuildFacts(None, 60.0, 30.0, "schedule", "published", "v1", 0, (), 3600.0, 5)
LABELS = LabelFacts(5_000, 0.5, 100, 50, 1.0, 0.02, 0.8, learned_from=False)
TRAINER = TrainerFacts(
    "t:1", 100, 1000, {"outcomes": 5}, 50_000, 1.0, 5.0, {"click": LABELS}, REBUILD,
    {"site": 0.01}, drift_alarm=False, measured_s=10.0,
)  # fmt: skip
WORKER = WorkerFacts("w:1", "v1", 100_000, 60_000, 60_000, 0.6, 0.6, fail_open=False, shared=True)
WELL = Status(
    brokers=BrokerFacts(
        topics=(TopicFacts("bid-requests", 8, 100_000, {"weir": 10}),),
        members={"weir": 2},
        announced="v1",
    ),
    registry=RegistryFacts(versions=3, has_announced=True),
    processes=(
        ProcessFacts("w:1", "worker", "0.1"),
        ProcessFacts("f:1", "feedback", "0.1"),
        ProcessFacts("t:1", "trainer", "0.1"),
    ),
    workers=(WORKER,),
    trainers=(TRAINER,),
    expected_workers=1,
)


def trainer(**changes: Any) -> Status:
    return replace(WELL, trainers=(replace(TRAINER, **changes),))


def rebuild(**changes: Any) -> Status:
    return trainer(rebuild=replace(REBUILD, **changes))


def labels(**changes: Any) -> Status:
    return trainer(labels={"click": LABELS, "deal": replace(LABELS, **changes)})


def worker(**changes: Any) -> Status:
    return replace(WELL, workers=(WORKER, replace(WORKER, address="w:2", **changes)))


def brokers(**changes: Any) -> Status:
    return replace(WELL, brokers=replace(WELL.brokers, **changes))


def test_all_is_well() -> None:
    """One line that says so."""
    (finding,) = attention(WELL)
    assert (finding.level, finding.message) == (Level.OK, "nothing needs attention")


@pytest.mark.parametrize(
    ("status", "level", "message"),
    [
        (brokers(error="no broker answers"), Level.FAIL, "no broker answers"),
        (brokers(topics=(TopicFacts("outcomes", 0, 0),)), Level.FAIL, "missing: outcomes"),
        (
            brokers(topics=(TopicFacts("bid-requests", 8, 9, {"weir": MAX_LAG + 1}),)),
            Level.WARN, "weir is 100,001 records behind on bid-requests",
        ),
        (brokers(members={"weir": 0}), Level.FAIL, "no consumer in weir"),
        (replace(WELL, registry=RegistryFacts(error="s3: gone")), Level.WARN, "s3: gone"),
        (
            replace(WELL, registry=RegistryFacts(versions=1, has_announced=False)),
            Level.FAIL, "v1 is announced, but not in the registry",
        ),
        (replace(WELL, processes=()), Level.WARN, "no metrics endpoint is known"),
        (
            replace(WELL, processes=(*WELL.processes, ProcessFacts("x:1"))),
            Level.FAIL, "x:1 does not answer",
        ),
        (
            replace(WELL, processes=(*WELL.processes, ProcessFacts("x:1", "worker", "1", ("a",)))),
            Level.WARN, "x:1 is not ready: a",
        ),
        (replace(WELL, expected_workers=2), Level.FAIL, "1 of 2 workers answer"),
        (replace(WELL, processes=WELL.processes[::2]), Level.WARN, "no examples are made"),
        (replace(WELL, processes=WELL.processes[:2]), Level.WARN, "nothing is learned"),
        (worker(fail_open=True), Level.FAIL, "everything passes at w:2: no model serves"),
        (worker(model="v2"), Level.WARN, "workers serve different versions: v1, v2"),
        (brokers(announced="v9"), Level.WARN, "v9 is announced, v1 serves"),
        (worker(blocked=55_000), Level.WARN, "off by -0.025 since the workers started"),
        (worker(shared=False), Level.WARN, "not shared with the fleet: w:2"),
        (trainer(stalled_s=900.0), Level.FAIL, "no progress for 15 min"),
        (trainer(lag={"outcomes": 2e5}), Level.WARN, "200,000 records behind on outcomes"),
        (labels(outcomes=0), Level.WARN, "no outcome of deal since the trainer started"),
        (rebuild(running_s=7 * 3600.0), Level.WARN, "running for 7.0 h"),
        (
            rebuild(refused_in_row=3, failed_gates=("auc click",)),
            Level.WARN, "3 candidates in a row refused: auc click",
        ),
        (rebuild(result="failed"), Level.WARN, "the last one failed"),
        (trainer(drift_alarm=True, psi={"a": 0.1, "b": 0.4}), Level.WARN, "PSI 0.40 of b"),
        (labels(calibration=0.7), Level.WARN, "deal: observed over expected is 0.70"),
    ],
)  # fmt: skip
def test_each_fault_is_named(status: Status, level: Level, message: str) -> None:
    """It alone, with its severity."""
    (finding,) = attention(status)
    assert finding.level is level
    assert message in finding.sentence


@pytest.mark.parametrize(
    "status",
    [
        labels(calibration=0.7, learned_from=True),
        labels(calibration=0.7, error=0.2),
        labels(calibration=None, error=None),
        worker(requests=100, blocked=0, due=60),
        trainer(stalled_s=None),
    ],
)
def test_no_false_alarm(status: Status) -> None:
    """Figures of few rows, or of rows that the model learned from, are no fault."""
    assert attention(status)[0].level is Level.OK


def test_failures_come_first() -> None:
    """A warning found before a failure is shown after it."""
    status = replace(brokers(announced="v9"), trainers=(replace(TRAINER, stalled_s=900.0),))
    assert [finding.level for finding in attention(status)] == [Level.FAIL, Level.WARN]


def endpoint(address: str, registry: Any) -> Endpoint:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return Endpoint(address, Samples([each for family in families for each in family.samples]))


def test_facts_are_those_that_processes_export() -> None:
    """Of the registries of all roles once everything has happened to them."""
    found = [
        endpoint("w:1", exported.worker()),
        endpoint("f:1", exported.feedback()),
        endpoint("t:1", exported.trainer()),
        Endpoint("x:1", None),
    ]
    assert [process.role for process in processes(found)] == ["worker", "feedback", "trainer", ""]
    (one,) = workers(found)
    assert (one.model, one.requests, one.due, one.achieved) == ("v1", 5, 0.6, 0.6)
    (learner,) = trainers(found, now_s=101.0)
    assert (learner.rows, learner.bytes, learner.lag) == (1, 1, {"outcomes": 1})
    assert (learner.stalled_s, learner.measured_s) == (100.0, 100.0)
    click = learner.labels["click"]
    assert (click.outcomes, click.known, click.open, click.due) == (1, 0.5, 10, 5)
    assert (click.calibration, click.error, click.auc) == (1.0, 0.1, 0.8)
    assert learner.psi == {"site": 0.1}
    assert (learner.rebuild.reason, learner.rebuild.version) == ("examples", "v1")
    assert learner.rebuild.running_s is None


@pytest.mark.parametrize("wrong", ["worker", "worker:", ":9464", "worker:port", "worker:70000"])
async def test_a_wrong_endpoint_is_named(wrong: str) -> None:
    """With the setting and the option."""
    with pytest.raises(EndpointError, match=r"HOST:PORT.*status\.endpoints or --endpoint"):
        await read_endpoints([wrong])


async def test_hosts_that_are_not_there() -> None:
    """Unknown names and ports where nothing listens are endpoints without samples."""
    found = await read_endpoints(["no-such-host.invalid:9464", "127.0.0.1:9"])
    assert [(each.address, each.samples) for each in found] == [
        ("no-such-host.invalid:9464", None),
        ("127.0.0.1:9", None),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (45, "45 s"), (720, "12 min"), (12_240, "3.4 h"), (449_280, "5.2 d")],
)
def test_durations_in_their_largest_unit(seconds: float, text: str) -> None:
    """As people say them."""
    assert ago(seconds) == text
