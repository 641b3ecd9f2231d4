"""Decoding of record batches, whoever wrote them, within limits; shared by all consumers.

Keys, values, headers, timestamps and codecs of a topic are input. `BoundedConsumer` is aiokafka's
consumer, but it unpacks no batch beyond a limit, and delivers a batch or record that cannot be
decoded as a `RefusedBatch` with its coordinates, or skips and reports it, and continues after it.

A fetch is cut into batches (`framing`), unpacked (`codecs`) and decoded (`partition_reader`; record
by record by `record_parser` where aiokafka's decoder fails). What is refused is a `refused` batch.
"""

from stream.kafka.batches.codecs import CODECS, Unpacker, UnpackError, compress
from stream.kafka.batches.consumer import BoundedConsumer
from stream.kafka.batches.limits import HEADER_BYTES_HELD
from stream.kafka.batches.record_parser import HeaderName
from stream.kafka.batches.refused import CorruptBatchError, CorruptBatches, RefusedBatch

__all__ = [
    "CODECS",
    "HEADER_BYTES_HELD",
    "BoundedConsumer",
    "CorruptBatchError",
    "CorruptBatches",
    "HeaderName",
    "RefusedBatch",
    "UnpackError",
    "Unpacker",
    "compress",
]
