"""``[worker]`` and ``[log]``: the intercept worker, and the log format of every process."""

from typing import Literal

from pydantic import Field

from models.settings.section import Port, Section


class WorkerSettings(Section):
    """The intercept worker: its delivery guarantee, and its limits on memory and batch sizes.

    Attributes:
        guarantee: ``at-least-once``: after a crash outputs may be repeated, none is lost.
            ``exactly-once``: one output per request for ``read_committed`` consumers; needs Apache
            Kafka.
        offsets_missing: Where to start when the group's committed offsets are gone although
            requests were filtered before: ``earliest`` (retained requests are filtered again),
            ``latest`` (waiting requests are skipped), or ``refuse`` to start. The very first start
            always begins at the first request.
        max_chunk_records: Maximum number of requests per fetch.
        max_chunk_bytes: Maximum bytes per fetch and partition, and maximum decompressed bytes over
            all partitions that are processed at a time.
        max_buffer_bytes: Bytes in flight at which fetching pauses.
        max_value_bytes: Maximum size of a request; longer ones go to the dead-letter topic.
        compression: Codec of the batches that Weir writes: the worker's outputs, and what feedback
            writes. The table in ARCHITECTURE.md gives the cost of each.
        score_batch: Requests per inference.
        score_threads: Threads per inference.
        metrics_host: Address on which metrics and probes are served.
        metrics_port: Port on which metrics and probes are served; 0 picks a free one.
        trace: Where to write how long each chunk took, phase by phase: a file, or the URL of an
            OpenTelemetry collector (`http://host:4318`). Empty: nowhere.
        journal: Whether the worker writes a journal to ``topics.journal``, from which
            ``weir reproduce`` repeats every decision exactly.
        expected: Number of ready workers below which the alert on missing workers fires.
    """

    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"
    offsets_missing: Literal["earliest", "latest", "refuse"] = "earliest"
    max_chunk_records: int = Field(default=2000, ge=1)
    max_chunk_bytes: int = Field(default=8_388_608, ge=1024)
    max_buffer_bytes: int = Field(default=268_435_456, ge=1_048_576)
    max_value_bytes: int = Field(default=900_000, ge=1024)
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    score_batch: int = Field(default=512, ge=1)
    score_threads: int = Field(default=1, ge=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0
    trace: str = ""
    journal: bool = False
    expected: int = Field(default=1, ge=0)


class LogSettings(Section):
    """The log of every process.

    Attributes:
        format: ``text`` for people; ``json`` for machines, one object per line.
    """

    format: Literal["text", "json"] = "text"
