"""The verifier against topics that are wrong in every way it must notice."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from models.settings import Settings
from stream.messages import Decision, Reason
from stream.verify.account import Account, Fate, Fault, FaultKind
from stream.verify.verifier import Verifier, account

OUTPUTS = {Fate.PASSED: "passed", Fate.BLOCKED: "blocked", Fate.REJECTED: "rejected"}
Headers = Sequence[tuple[str, bytes]]


def record(
    partition: int,
    offset: int,
    value: bytes | None = b"value",
    *,
    key: bytes | None = b"key",
    timestamp: int = 1000,
    headers: Headers = (),
) -> ConsumerRecord:
    return ConsumerRecord(
        "topic", partition, offset, timestamp, 0, key, value, None, 0, 0, tuple(headers)
    )


def decided(source: int) -> tuple[str, bytes]:
    return ("weir", Decision("m1", 0.5, 0.4, Reason.SCORE, 1.0, source).to_bytes())


def dead(source: int, partition: int = 0, topic: bytes = b"requests") -> Headers:
    return [
        ("weir-error", b"empty"),
        ("weir-message", b"nothing there"),
        ("weir-topic", topic),
        ("weir-partition", b"%d" % partition),
        ("weir-offset", b"%d" % source),
    ]


def output(fate: Fate, source: ConsumerRecord, offset: int) -> ConsumerRecord:
    """What a faultless filter makes of `source`."""
    added = (
        dead(source.offset, source.partition) if fate is Fate.REJECTED else [decided(source.offset)]
    )
    return replace(source, offset=offset, headers=(*source.headers, *added))


def verify(
    inputs: list[ConsumerRecord],
    outputs: list[tuple[Fate, ConsumerRecord]],
    committed: dict[int, int] | None = None,
) -> Account:
    """The account of records that are delivered one by one."""
    verifier = Verifier("requests", OUTPUTS)
    for each in inputs:
        verifier.inputs(each.partition, [each])
    for fate, each in outputs:
        verifier.outputs(fate, each.partition, [each])
    ends = {each.partition: each.offset + 1 for each in inputs}
    return verifier.finish(ends if committed is None else committed)


def only(found: Account) -> Fault:
    """The one fault that there is."""
    assert found.counts.total() == 1
    return found.faults[0]


def three() -> tuple[list[ConsumerRecord], list[tuple[Fate, ConsumerRecord]]]:
    """Three inputs and, for each, its output on the pass topic."""
    inputs = [record(0, offset, b"v%d" % offset, headers=[("own", b"1")]) for offset in range(3)]
    return inputs, [(Fate.PASSED, output(Fate.PASSED, each, each.offset)) for each in inputs]


def test_dropped_output_is_missing() -> None:
    """An input on no output topic is named by its coordinates."""
    inputs, outputs = three()
    del outputs[1]
    assert only(verify(inputs, outputs)) == Fault(FaultKind.MISSING, 0, 1, "requests", -1)


def test_second_output_is_doubled_on_any_topic() -> None:
    """An input that is both passed and blocked is doubled, and where is said."""
    inputs, outputs = three()
    outputs.append((Fate.BLOCKED, output(Fate.BLOCKED, inputs[1], 7)))
    assert only(verify(inputs, outputs)) == Fault(FaultKind.DOUBLED, 0, 1, "blocked", 7)


def test_swapped_outputs_are_reordered() -> None:
    """An output behind that of a later input of its partition is out of order."""
    inputs, outputs = three()
    outputs[0], outputs[1] = outputs[1], outputs[0]
    assert only(verify(inputs, outputs)) == Fault(FaultKind.REORDERED, 0, 0, "passed", 0)


@pytest.mark.parametrize(
    "change",
    [
        {"value": b"other"},
        {"value": None},
        {"key": None},
        {"timestamp": 999},
        {"headers": (decided(1),)},
        {"headers": (("own", b"2"), decided(1))},
        {"headers": (("own", b"1"), ("more", b""), decided(1))},
    ],
)
def test_changed_content_is_altered(change: dict[str, object]) -> None:
    """Key, value, timestamp and headers must be the input's, byte for byte."""
    inputs, outputs = three()
    outputs[1] = (Fate.PASSED, replace(outputs[1][1], **change))
    assert only(verify(inputs, outputs)) == Fault(FaultKind.ALTERED, 0, 1, "passed", 1)


def test_exchanged_contents_are_altered() -> None:
    """Two outputs that carry each other's content are two faults."""
    inputs, outputs = three()
    first, second = outputs[0][1], outputs[1][1]
    outputs[0] = (Fate.PASSED, replace(first, value=second.value))
    outputs[1] = (Fate.PASSED, replace(second, value=first.value))
    assert verify(inputs, outputs).counts == {FaultKind.ALTERED: 2}


@pytest.mark.parametrize(
    ("fate", "headers"),
    [
        (Fate.PASSED, []),
        (Fate.PASSED, [("weir", b"{broken")]),
        (Fate.PASSED, [decided(3)]),
        (Fate.PASSED, [decided(-1)]),
        (Fate.REJECTED, dead(1, partition=1)),
        (Fate.REJECTED, dead(1, topic=b"elsewhere")),
    ],
)
def test_output_that_names_no_input_is_unknown(fate: Fate, headers: Headers) -> None:
    """No header, a broken one, an offset that holds no input, another partition or topic."""
    inputs, outputs = three()
    outputs.append((fate, record(0, 3, headers=headers)))
    assert only(verify(inputs, outputs)).kind is FaultKind.UNKNOWN


LONG_NUMBERS = [b"9" * 19, b"9223372036854775808", b"-9223372036854775809", b"9" * 5000]


@pytest.mark.parametrize(
    "content",
    [b'{"offset":18446744073709551615}', b'{"offset":9223372036854775808}', b'{"offset":1e300}',
     b'{"offset":1.5}', b'{"offset":true}', b'{"offset":"%s"}' % (b"9" * 99)],
)  # fmt: skip
def test_a_decision_of_no_offset_is_of_no_input(content: bytes) -> None:
    """What somebody else wrote on an output topic is counted, whatever number it names."""
    foreign = record(0, 5, headers=[("weir", content)])
    fault = only(verify([record(0, 0)], [(Fate.PASSED, output(Fate.PASSED, record(0, 0), 0)),
                                         (Fate.PASSED, foreign)]))  # fmt: skip
    assert (fault.kind, fault.source, fault.offset) == (FaultKind.UNKNOWN, -1, 5)


@pytest.mark.parametrize("number", LONG_NUMBERS)
@pytest.mark.parametrize("name", ["weir-offset", "weir-timestamp", "weir-truncated-from"])
def test_a_dead_letter_with_a_number_beyond_its_range(name: str, number: bytes) -> None:
    """It is one that Weir never wrote: unknown where it names no input, else altered at most."""
    source = record(0, 0)
    first = [(name, number)] if name == "weir-truncated-from" else []
    last = [(name, number)] if name == "weir-timestamp" else []
    named = [(n, number if n == name else c) for n, c in dead(0)]
    foreign = record(0, 0, headers=[*first, *named[:-1], *last, named[-1]])
    found = verify([source], [(Fate.REJECTED, foreign)])
    assert found.counts[FaultKind.UNKNOWN] == (name == "weir-offset")
    assert found.counts[FaultKind.DOUBLED] == 0


def test_committed_short_of_the_end_is_uncommitted() -> None:
    """Every input at or behind the committed offset counts; so do all where none is committed."""
    inputs, outputs = three()
    found = verify(inputs, outputs, committed={0: 2})
    assert only(found) == Fault(FaultKind.UNCOMMITTED, 0, 2, "requests", -1)
    assert verify(inputs, outputs, committed={}).counts == {FaultKind.UNCOMMITTED: 3}


def test_dead_letter_may_be_cut_but_not_changed() -> None:
    """A cut value is held against the input's first bytes and its length."""
    source = record(0, 0, b"x" * 5000, headers=[("own", b"1")])
    own, *_ = source.headers
    said = ("weir-truncated-from", b"5000")
    faultless = replace(source, value=b"x" * 1024, headers=(own, said, *dead(0)))
    assert verify([source], [(Fate.REJECTED, faultless)]).exact
    for changed in (
        replace(faultless, value=b"x" * 1023),
        replace(faultless, value=b"y" * 1024),
        replace(faultless, headers=(own, ("weir-truncated-from", b"4999"), *dead(0))),
        replace(faultless, headers=(own, *dead(0))),
    ):
        assert only(verify([source], [(Fate.REJECTED, changed)])).kind is FaultKind.ALTERED


def test_gaps_between_input_offsets_are_no_inputs() -> None:
    """Markers of transactions and compaction leave offsets out; an output of one is unknown."""
    inputs = [record(0, 3), record(0, 5)]
    outputs = [(Fate.BLOCKED, output(Fate.BLOCKED, each, 9 + each.offset)) for each in inputs]
    assert verify(inputs, outputs, committed={0: 7}).exact
    stray = (Fate.BLOCKED, replace(outputs[1][1], headers=(decided(4),)))
    assert verify(inputs, [*outputs, stray]).counts == {FaultKind.UNKNOWN: 1}


def test_memory_goes_by_records_not_by_offsets() -> None:
    """A few records far from offset 0 and from each other cost no more than others."""
    inputs = [record(0, 10**9 + 1000 * number) for number in range(200)]
    tracemalloc.start()
    found = verify(inputs, [(Fate.PASSED, output(Fate.PASSED, each, 7)) for each in inputs])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.exact
    assert peak < 4_000_000


def test_what_retention_took_is_a_gap_only_where_nothing_was_filtered() -> None:
    """Outputs of deleted inputs are no fault; a hole between them and the range is one."""
    inputs = [record(0, 800), record(0, 801)]
    outputs = [(Fate.PASSED, output(Fate.PASSED, each, 9)) for each in inputs]

    def found(last_before: int | None, committed: int) -> Account:
        verifier = Verifier("requests", OUTPUTS)
        verifier.span(0, 800, 802)
        verifier.inputs(0, inputs)
        if last_before is not None:
            early = output(Fate.PASSED, record(0, last_before), 3)
            verifier.outputs(Fate.PASSED, 0, [early])
        for fate, each in outputs:
            verifier.outputs(fate, 0, [each])
        return verifier.finish({0: committed})

    whole = found(799, 802)
    assert whole.exact
    assert (whole.expired, whole.covered, whole.gaps) == (1, {0: (800, 802)}, {})
    assert "begins at [0]@800" in whole.remarks()[0]
    hole = found(399, 802)
    assert only_kind(hole) == {FaultKind.GAP: 400}
    assert hole.gaps == {0: (400, 800)}
    assert found(None, 802).exact  # outputs are deleted, too: the range is all that can be said
    assert found(None, 500).gaps == {0: (500, 800)}  # but the group had not read so far


def only_kind(found: Account) -> dict[FaultKind, int]:
    return dict(+found.counts)


def test_log_append_time_is_told_from_an_altered_timestamp() -> None:
    """A broker's own time is counted and not compared; all else still is."""
    inputs, outputs = three()
    stamped = [(fate, replace(each, timestamp=9, timestamp_type=1)) for fate, each in outputs]
    found = verify(inputs, stamped)
    assert found.exact
    assert found.log_append_time == 3
    assert "LogAppendTime" in found.remarks()[0]
    fate, first = stamped[0]
    changed = verify(inputs, [(fate, replace(first, value=b"other")), *stamped[1:]])
    assert only(changed).kind is FaultKind.ALTERED
    moved = [(fate, replace(each, timestamp=9)) for fate, each in outputs]
    assert verify(inputs, moved).counts == {FaultKind.ALTERED: 3}


def test_a_dead_letter_may_have_its_own_time_in_a_header() -> None:
    """What the topic would not take as it was is held against what the header says."""
    source = record(0, 0, timestamp=5)
    *said, place = dead(0)
    letter = replace(source, timestamp=777, headers=(*said, ("weir-timestamp", b"5"), place))
    assert verify([source], [(Fate.REJECTED, letter)]).exact
    lie = replace(letter, headers=(*said, ("weir-timestamp", b"6"), place))
    assert only(verify([source], [(Fate.REJECTED, lie)])).kind is FaultKind.ALTERED


@given(
    fates=st.lists(st.sampled_from(Fate), min_size=1, max_size=40),
    events=st.lists(st.tuples(st.integers(0, 50), st.sampled_from(Fate)), max_size=60),
    cuts=st.lists(st.integers(1, 8), min_size=100, max_size=100),
)
def test_counts_are_those_of_a_naive_count(
    fates: list[Fate], events: list[tuple[int, Fate]], cuts: list[int]
) -> None:
    """Any outputs, delivered in any pieces, are counted as record by record with a dict."""
    inputs = [record(0, offset, b"v%d" % offset) for offset in range(len(fates))]
    verifier = Verifier("requests", OUTPUTS)
    verifier.inputs(0, inputs)
    naive: Counter[FaultKind] = Counter()
    seen: set[int] = set()
    for fate in Fate:
        sources = [i for i, at in events if at is fate]
        batch = [replace(record(0, n, b"v%d" % i), headers=(decided(i),) if fate is not
                 Fate.REJECTED else tuple(dead(i))) for n, i in enumerate(sources)]  # fmt: skip
        latest = -1
        for i in sources:
            if i >= len(inputs):
                naive[FaultKind.UNKNOWN] += 1
            elif i in seen:
                naive[FaultKind.DOUBLED] += 1
            else:
                naive[FaultKind.REORDERED] += i < latest
                seen.add(i)
                latest = max(latest, i)
        for size in cuts:
            if batch:
                verifier.outputs(fate, 0, batch[:size])
                batch = batch[size:]
    naive[FaultKind.MISSING] = len(inputs) - len(seen)
    found = verifier.finish({0: len(inputs)})
    assert found.counts == +naive
    assert all(
        sum(fault.kind is kind for fault in found.faults) == min(5, count)
        for kind, count in found.counts.items()
    )


async def produce(settings: Settings, rows: list[tuple[str, bytes, Headers]]) -> None:
    """Write rows of (topic, value, headers) to partition 0, with timestamps by value."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all")
    async with producer:
        for topic, value, headers in rows:
            await producer.send_and_wait(
                topic, value, key=b"k", partition=0, timestamp_ms=1000 + value[0], headers=headers
            )


async def commit(settings: Settings, offset: int) -> None:
    """Commit `offset` of partition 0 for the group."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap,
        group_id=settings.kafka.group,
        enable_auto_commit=False,
    )
    async with consumer:
        partition = TopicPartition(settings.topics.requests, 0)
        consumer.assign([partition])
        await consumer.commit({partition: offset})


@pytest.mark.broker
async def test_everything_in_its_place_is_exact(settings: Settings) -> None:
    """One output per input, unchanged and in order, all committed, is an exact account."""
    names = settings.topics
    requests = names.requests.encode()
    await produce(
        settings,
        [
            *((names.requests, value, []) for value in (b"0", b"1", b"2", b"3")),
            (names.passed, b"0", [decided(0)]),
            (names.blocked, b"1", [decided(1)]),
            (names.rejected, b"2", dead(2, topic=requests)),
            (names.passed, b"3", [decided(3)]),
        ],
    )
    await commit(settings, 4)
    found = await account(settings)
    assert found.exact, found.faults
    assert found.fates[0].tolist() == [Fate.PASSED, Fate.BLOCKED, Fate.REJECTED, Fate.PASSED]
    assert [found.count(fate) for fate in Fate] == [2, 1, 1]


@pytest.mark.broker
async def test_every_fault_is_counted(settings: Settings) -> None:
    """Missing, doubled, altered, unknown, reordered and uncommitted records are told apart."""
    names = settings.topics
    await produce(
        settings,
        [
            *((names.requests, value, []) for value in (b"0", b"1", b"2", b"3", b"4")),
            (names.passed, b"1", [decided(1)]),
            (names.passed, b"0", [decided(0)]),
            (names.blocked, b"1", [decided(1)]),
            (names.blocked, b"X", [decided(2)]),
            (names.blocked, b"3", [decided(99)]),
            (names.rejected, b"4", dead(4, topic=names.requests.encode())),
        ],
    )
    await commit(settings, 4)
    found = await account(settings)
    assert not found.exact
    assert found.counts == dict.fromkeys(set(FaultKind) - {FaultKind.OPEN, FaultKind.GAP}, 1)
