"""Record batches as anyone may write them, read within bounds; what all consumers share.

Keys, values, headers, timestamps and codecs of a topic are input. `BoundedConsumer` is aiokafka's
consumer, but it unpacks no batch beyond a bound, and a batch or record that cannot be read comes
out as a `RefusedBatch` with its coordinates, or is left out and reported, and reading goes on.
"""

from stream.kafka.batches.codecs import CODECS, Unpacker, UnpackError, compress
from stream.kafka.batches.consumer import BoundedConsumer
from stream.kafka.batches.partition_reader import HEADER_BYTES_HELD
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
