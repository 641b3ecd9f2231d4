"""What compressing outputs costs and saves: bytes, CPU time, and how long a batch holds the loop.

Run from the repository root: ``PYTHONPATH=. python benchmarks/compression.py``. Requests of the
simulator with the header that Weir adds are packed into full batches as the sinks do, and read back
as consumers do; the codecs take turns. ``--requests FILE`` takes JSON lines (gzip) instead.
"""

import argparse
import gzip
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cramjam
from aiokafka import TopicPartition

from stream.kafka.batches import Unpacker
from stream.kafka.batches.codecs import CODECS, compress
from stream.kafka.batches.framing import RecordSet
from stream.kafka.batches.limits import Limits, Room
from stream.kafka.batches.partition_reader import PartitionReader
from stream.messages import Decision, Reason
from stream.transport import Outgoing
from stream.transport.output.batch_builder import compressed
from stream.transport.output.batching import MAX_BATCH_BYTES, build_batches
from trainer.simulation.simulator import Simulator

ROUNDS = 9
REQUESTS = 8192
MODEL = "20261101T000000-4af1"
THRESHOLD = 0.413872045
#: Levels that are not the ones in use, for the choice of these.
OTHERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4, level 9": lambda raw: bytes(cramjam.lz4.compress(raw, level=9)),
    "zstd, level 3": lambda raw: bytes(cramjam.zstd.compress(raw, level=3)),
    "gzip, level 6": lambda raw: bytes(cramjam.gzip.compress(raw, level=6)),
}


class _Producer:
    """The attributes of a producer that a batch reads."""

    _txn_manager = None


def outputs(values: Sequence[bytes]) -> list[Outgoing]:
    rng = random.Random(1)
    return [
        Outgoing(
            b"%d" % rng.getrandbits(40),
            value,
            1_740_960_000_000 + 3 * number,
            (Decision(MODEL, rng.random(), THRESHOLD, Reason.SCORE, 1.0, number).to_header(),),
        )
        for number, value in enumerate(values)
    ]


def write(records: Sequence[Outgoing], codec: str) -> list[bytes]:
    batches = build_batches(_Producer(), "out", 0, records, MAX_BATCH_BYTES, codec)
    return [bytes(batch._build()) for batch in batches]


def read(batches: Sequence[bytes]) -> int:
    bounds = Limits(
        Unpacker(1 << 24), lambda _: None, keep=True, max_bytes=1 << 40, room=Room(1 << 40)
    )
    count = 0
    for batch in batches:
        at = TopicPartition("out", 0)
        reader = PartitionReader(bounds, at, RecordSet(batch), [], 0, None, None, True, 1)
        while not reader.exhausted:
            count += len(reader.take(2000))
    return count


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=Path, help="Gzip file of requests, one per line.")
    path = parser.parse_args().requests
    if path is None:
        values = Simulator(seed=1).batch(0, REQUESTS).values
    else:
        with gzip.open(path) as lines:
            values = [line.strip() for line in lines]
    records = outputs(values)
    plain = [bytearray(batch) for batch in write(records, "none")]
    size = sum(map(len, plain))
    print(f"{len(records)} requests of {sum(map(len, values)) / len(values):.0f} bytes, "
          f"{len(plain)} batches")  # fmt: skip
    times: dict[str, list[tuple[float, float]]] = {codec: [] for codec in CODECS}
    for _ in range(ROUNDS):
        for codec, rows in times.items():
            batches = write(records, codec)
            rows.append((timed(partial(write, records, codec)), timed(partial(read, batches))))
    print("| codec | size | write, us per request | read | a batch is packed in, ms |")
    print("| --- | --- | --- | --- | --- |")
    for codec, rows in times.items():
        share = sum(map(len, write(records, codec))) / size
        wrote, took = (
            statistics.median(column) / len(records) * 1e6 for column in zip(*rows, strict=True)
        )
        full = max(plain, key=len)
        held = (
            statistics.median(timed(partial(compressed, full, codec)) for _ in range(ROUNDS)) * 1e3
        )
        print(f"| {codec} | {share:.3f} | {wrote:.2f} | {took:.2f} | {held:.2f} |")
    payload = bytes(plain[0][61:])
    for name, way in OTHERS.items():
        codec = name.split(",")[0]
        other = statistics.median(timed(partial(way, payload)) for _ in range(ROUNDS))
        own = statistics.median(timed(partial(compress, codec, payload)) for _ in range(ROUNDS))
        print(f"{name}: {len(way(payload)) / len(compress(codec, payload)):.2f} of the size, "
              f"{other / own:.1f} times the time of the level in use")  # fmt: skip


if __name__ == "__main__":
    main()
