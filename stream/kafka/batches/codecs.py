"""The codecs of Kafka's record batches, unpacked within a limit.

A batch is compressed as a whole, and 300 KB may unpack to 300 MB. So every codec writes into a
buffer of fixed size here, and a payload that does not fit is refused while it is being unpacked.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final

import cramjam
import numpy as np
import numpy.typing as npt

#: Codec numbers in a batch's attributes, by the names in the configuration of producers and topics.
CODECS: Final[Mapping[str, int]] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
NAMES: Final = {number: name for name, number in CODECS.items()}

_HEAD: Final = 64

#: The format of snappy-java: magic, version and compatible version, then length-prefixed blocks.
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEADER: Final = _XERIAL + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK: Final = 32 * 1024
_LENGTH: Final = struct.Struct(">i")


class UnpackError(ValueError):
    """A payload that cannot be unpacked; the message names the codec and the reason."""


class Unpacker:
    """Unpacks payloads into a buffer of its own; one thread.

    Args:
        limit: Maximum size of an unpacked payload. Memory is committed as payloads need it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer: npt.NDArray[np.uint8] | None = None

    def unpack(self, codec: int, payload: memoryview, head: bytes = b"") -> bytes:
        """The unpacked records of ``payload``, after ``head``.

        Args:
            codec: Number from the batch's attributes, not that of ``none``.
            payload: The batch without its header.
            head: Prefix of the result; 64 bytes at most.

        Raises:
            UnpackError: If the codec is unknown, the payload is corrupt, or it unpacks to more
                than the limit.
        """
        name = NAMES.get(codec)
        if name is None:
            raise UnpackError(f"codec {codec} is unknown; {', '.join(NAMES.values())} are known")
        if self._buffer is None:
            self._buffer = np.empty(_HEAD + self.limit, np.uint8)
        start, view = len(head), self._buffer.data
        view[:start] = head
        try:
            size = _UNPACK[name](payload, view[start : start + self.limit])
        except (cramjam.DecompressionError, struct.error) as error:
            if any(sign in str(error) for sign in _FULL):
                raise UnpackError(
                    f"{name}: unpacks to more than kafka.max_unpacked_bytes = {self.limit}"
                ) from error
            raise UnpackError(f"{name}: corrupt: {error}") from error
        return self._buffer[: start + size].tobytes()


#: cramjam's messages for a buffer that is full.
_FULL: Final = ("failed to write whole buffer", "is smaller than required")


def _unpack_snappy(payload: memoryview, out: memoryview) -> int:
    if bytes(payload[: len(_XERIAL)]) != _XERIAL:
        return cramjam.snappy.decompress_raw_into(payload, out)
    at, size = len(_XERIAL_HEADER), 0
    while at < len(payload):
        (length,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        if not 0 <= length <= len(payload) - at:
            raise cramjam.DecompressionError(f"a block of {length} bytes, {len(payload) - at} left")
        size += cramjam.snappy.decompress_raw_into(payload[at : at + length], out[size:])
        at += length
    return size


_UNPACK: Final[Mapping[str, Callable[[memoryview, memoryview], int]]] = {
    "gzip": cramjam.gzip.decompress_into,
    "snappy": _unpack_snappy,
    "lz4": cramjam.lz4.decompress_into,
    "zstd": cramjam.zstd.decompress_into,
}


def compress(codec: str, payload: bytes) -> bytes:
    """Compress records, at the level that pays off (``python benchmarks/compression.py``).

    Args:
        codec: One of `CODECS`, not ``none``.
        payload: The batch without its header.
    """
    return _COMPRESS[codec](payload)


def _gzip(payload: bytes) -> bytes:
    return bytes(cramjam.gzip.compress(payload, level=1))


def _snappy(payload: bytes) -> bytes:
    view, blocks = memoryview(payload), [_XERIAL_HEADER]
    for start in range(0, len(view), _XERIAL_BLOCK):
        block = bytes(cramjam.snappy.compress_raw(view[start : start + _XERIAL_BLOCK]))
        blocks += [_LENGTH.pack(len(block)), block]
    return b"".join(blocks)


def _lz4(payload: bytes) -> bytes:
    compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
    compressor.compress(payload)  # brokers do not read linked blocks
    return bytes(compressor.finish())


def _zstd(payload: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(payload, level=1))


_COMPRESS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": _gzip,
    "snappy": _snappy,
    "lz4": _lz4,
    "zstd": _zstd,
}
