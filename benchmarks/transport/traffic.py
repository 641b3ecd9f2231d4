"""Open-loop traffic at a fixed rate, in its own process.

The schedule is fixed before the first request: request i is due at start + i / rate. Each carries
its due time in a header (monotonic clock, nanoseconds: one clock for all processes of a machine),
from which a request that is sent late is still measured. The requests of a tick are sent together
to one partition after the other, like by Kafka's sticky partitioner.
"""

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from models.settings import Settings
from trainer.simulation.simulator import Simulator

DUE_HEADER: Final = "due"
TICK_S: Final = 0.002
_POOL: Final = 20_000
_TOGETHER: Final = 500


class Pool:
    """Simulated requests that are sent repeatedly, each time with a new id.

    Args:
        seed: Seed of the simulator.
        size: Number of different requests.
    """

    def __init__(self, seed: int = 1, size: int = _POOL) -> None:
        traffic = Simulator(seed).batch(0, size)
        self._parts = [
            value.partition(request_id.encode())
            for request_id, value in zip(traffic.ids, traffic.values, strict=True)
        ]

    def request(self, number: int) -> tuple[bytes, bytes]:
        """Id and value of request `number`."""
        before, _, after = self._parts[number % len(self._parts)]
        request_id = b"%016x" % number
        return request_id, before + request_id + after


class Sender:
    """Sends numbered requests to the request topic.

    Args:
        settings: Brokers, topic, partition count.
        pool: Source of the requests.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._topic = settings.topics.requests
        self._partitions = settings.kafka.partitions
        self._pool = pool
        self._turn = 0
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka.bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "log_level": 2,  # what matters is raised
                "queue.buffering.max.messages": 1_000_000,
                "delivery.report.only.error": True,
                "on_delivery": self._failed,
            }
        )
        self._wall_ms = time.time() * 1000 - time.monotonic_ns() / 1e6

    def paced(
        self,
        first: int,
        most: int,
        per_second: float,
        start_ns: int,
        stopped: Callable[[], bool],
    ) -> int:
        """Send requests on their schedule; returns how many, when the broker has all of them.

        Args:
            first: Number of the first request.
            most: Maximum number of requests.
            per_second: Their rate.
            start_ns: Due time of the first request.
            stopped: Whether to end now.

        Raises:
            KafkaException: If the broker refused one.
        """
        step_ns = 1e9 / per_second
        sent = 0
        while sent < most and not stopped():
            behind_ns = time.monotonic_ns() - start_ns
            due = min(most, int(behind_ns / step_ns) + 1) if behind_ns >= 0 else 0
            self._together([(first + i, start_ns + round(i * step_ns)) for i in range(sent, due)])
            sent = max(sent, due)
            time.sleep(TICK_S)
        self.flush()
        return sent

    def at_once(self, first: int, count: int) -> None:
        """Send requests as fast as the client accepts them; :meth:`flush` waits for the broker."""
        for start in range(first, first + count, _TOGETHER):
            now_ns = time.monotonic_ns()
            last = min(start + _TOGETHER, first + count)
            self._together([(number, now_ns) for number in range(start, last)])

    def flush(self) -> None:
        """Wait until everything is acknowledged.

        Raises:
            KafkaException: If the broker refused a request.
        """
        self._producer.flush()
        if self._failure is not None:
            raise KafkaException(self._failure)

    def _together(self, requests: list[tuple[int, int]]) -> None:
        """Send requests, given by number and due time, to the next partition."""
        partition = self._turn = (self._turn + 1) % self._partitions
        for number, due_ns in requests:
            key, value = self._pool.request(number)
            self._producer.produce(
                self._topic,
                value,
                key,
                partition,
                timestamp=int(self._wall_ms + due_ns / 1e6),
                headers=[(DUE_HEADER, due_ns.to_bytes(8, "big"))],
            )
        self._producer.poll(0)

    def _failed(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error
