"""Decodes what a fetch returned for one partition, batch by batch, within limits.

aiokafka unpacks a batch to any size, and raises if it cannot decode it: its consumer then raises at
that batch forever. Here a batch is unpacked within a limit, and one that cannot be decoded becomes
a `RefusedBatch` in its place, after which decoding continues.
"""

from collections.abc import Iterator
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import Any, Final, TypeAlias

from aiokafka import ConsumerRecord
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from models.bounds import MAX_BAD_RECORDS, MAX_HEADERS
from stream.kafka.batches.codecs import UnpackError
from stream.kafka.batches.framing import (
    FORMAT,
    HEADER_BYTES,
    Header,
    plain_head,
    read_header,
    read_prefix,
)
from stream.kafka.batches.limits import HEADER_BYTES_HELD, Limits
from stream.kafka.batches.record_parser import BadRecord, longest_record, read_records, wrapped
from stream.kafka.batches.refused import CorruptBatchError, RefusedBatch

#: A batch that unpacks to more than this could have millions of headers, of a hundred bytes in
#: memory each. So its records are measured first, and at most so many are decoded at a time as have
#: this size together. If one is longer than `LARGE_RECORD`, or there are more than `MANY_RECORDS`,
#: they are parsed one by one.
LARGE_BATCH: Final = 1_048_576
LARGE_RECORD: Final = 262_144
MANY_RECORDS: Final = 65_536
#: Maximum number of records returned at a time, if the caller gives none.
MOST_RECORDS: Final = 10_000

_OFFSET: Final = attrgetter("offset")
_HEADERS: Final = attrgetter("headers")
_LEGACY_CODEC: Final = 0x07
_LEGACY_ATTRIBUTES_AT: Final = 17

Fetched: TypeAlias = ConsumerRecord | RefusedBatch


class PartitionReader(PartitionRecords):  # type: ignore[misc]
    """Decodes the record set of one partition; aiokafka's fetch result holds one.

    Args:
        limits: Limits of decoding.
        rest: As of aiokafka's ``PartitionRecords``. Keys and values stay bytes.
    """

    def __init__(self, limits: Limits, *rest: Any) -> None:
        super().__init__(*rest)
        # aiokafka's generator is not used. It would keep this reader, with all that was fetched, in
        # a reference cycle until the garbage collector runs, which it rarely does in a worker.
        self._records_iterator.close()
        self._limits = limits
        self.next_fetch_offset: int  # after what was delivered; set by aiokafka's class
        self._batch: Iterator[Any] | None = None  # remaining records of the current batch
        self._plain: bytes | memoryview = b""  # that batch, unpacked
        self._header: Header | None = None  # its header; None before format 2
        self._end = 0  # offset after it
        self._one_by_one = False
        self._piece = MOST_RECORDS  # maximum records of that batch to decode at a time

    @property
    def exhausted(self) -> bool:
        """Whether everything was delivered."""
        return self._batch is None and not self._records.has_next()

    def __next__(self) -> Fetched:
        self._limits.room.left = self._limits.max_bytes
        for record in self.take(1):
            return record
        raise StopIteration

    def take(self, most: int | None) -> list[Fetched]:
        """The next records, `most` at most; none at the end of the fetch, or without room.

        Raises:
            CorruptBatchError: At a batch whose checksum is wrong; fetch it again.
        """
        most = MOST_RECORDS if most is None else most
        room = self._limits.room
        taken: list[Fetched] = []
        while len(taken) < most and room.left > 0:
            if self._batch is None:
                raw = self._records.peek()
                if raw is None:
                    break
                if not self._sound(raw):
                    if taken:
                        break  # the records before it are returned before the error is raised
                    raise self._corrupt(raw)
                self._open(raw, taken)
            if self._batch is not None:
                share = len(self._plain) / max(self._header.records if self._header else 1, 1)
                records = self._read(min(most - len(taken), self._piece))
                room.left -= int(share * len(records)) + 1
                room.left -= HEADER_BYTES_HELD * sum(map(len, map(_HEADERS, records)))
                taken += records
        return taken

    # -- opening a batch

    def _sound(self, raw: memoryview) -> bool:
        """Whether the checksum is right, or the batch too short to have one."""
        if not self._check_crcs or read_prefix(raw)[1] != FORMAT or len(raw) < HEADER_BYTES:
            return True
        sound: bool = DefaultRecordBatch(raw).validate_crc()
        return sound

    def _corrupt(self, raw: memoryview) -> CorruptBatchError:
        """The error for a wrong checksum; nothing after the batch is decoded."""
        self._records.clear()
        header = read_header(raw)
        return CorruptBatchError(
            self._tp.topic, self._tp.partition, header.base_offset, header.last_offset
        )

    def _open(self, raw: memoryview, taken: list[Fetched]) -> None:
        """Start to decode the next batch, skip it, or refuse it."""
        self._records.skip()
        self._header, self._one_by_one = None, False
        try:
            self._end = self._start(raw)
        except Exception as error:  # noqa: BLE001 - whatever its bytes raise, decoding continues
            self._refuse(bytes(raw), self._last_offset(raw), str(error) or repr(error), taken)
            self._close()

    def _start(self, raw: memoryview) -> int:
        """Set up the iterator over the records of a batch; returns the offset after it."""
        offset, magic = read_prefix(raw)
        if magic > FORMAT:
            raise UnpackError(f"batch format {magic} is unknown")
        if magic < FORMAT:
            if raw[_LEGACY_ATTRIBUTES_AT] & _LEGACY_CODEC:
                raise UnpackError(f"a compressed message of format {magic}, Kafka's before 0.11")
            self._plain, self._batch = raw, chain(LegacyRecordBatch(raw, magic))
            return offset + 1
        header = self._header = read_header(raw)
        if self._skips(DefaultRecordBatch(raw), header):
            self._close()
            self.next_fetch_offset = max(self.next_fetch_offset, header.last_offset + 1)
        elif not header.codec:
            self._iterate(raw, header)
        else:
            payload, head = raw[HEADER_BYTES:], plain_head(raw, header)
            self._iterate(self._limits.unpacker.unpack(header.codec, payload, head), header)
        return header.last_offset + 1

    def _skips(self, batch: Any, header: Header) -> bool:
        """Whether a batch has no records to deliver: a marker, or an aborted transaction."""
        if self._isolation_level == READ_COMMITTED:
            self._consume_aborted_up_to(header.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(header.producer_id)
            if batch.is_transactional and header.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _iterate(self, plain: bytes | memoryview, head: Header) -> None:
        self._plain = plain
        self._piece = MOST_RECORDS
        if len(plain) > LARGE_BATCH:
            many = head.records > MANY_RECORDS
            longest = len(plain) if many else longest_record(plain, HEADER_BYTES, head.records)
            if longest > LARGE_RECORD:
                self._batch, self._one_by_one = self._parse(), True
                return
            self._piece = LARGE_BATCH // max(longest, 1)
        self._batch = chain(DefaultRecordBatch(plain))  # it can be iterated over only once
        position = self.next_fetch_offset
        if head.base_offset < position:
            self._batch = filter(lambda record: record.offset >= position, self._batch)

    def _close(self) -> None:
        self._batch, self._plain = None, b""

    # -- decoding its records

    def _read(self, most: int) -> list[Fetched]:
        """The next records of the batch, `most` at most, without refused ones unless kept."""
        records, ended = self._next(most)
        if records:
            last = records[-1]
            done = last.last_offset if type(last) is RefusedBatch else last.offset
            self.next_fetch_offset = max(self.next_fetch_offset, min(done + 1, self._end))
        if ended:
            self.next_fetch_offset = max(self.next_fetch_offset, self._end)
            self._close()
        if self._limits.keep or not self._one_by_one:
            return records
        return [record for record in records if type(record) is not RefusedBatch]

    def _next(self, most: int) -> tuple[list[Fetched], bool]:
        """The next records, refused ones included, and whether the batch ends with them."""
        assert self._batch is not None
        if not self._one_by_one:
            try:
                records = self._decode(most)
                self._check_order(records)
            except Exception as error:  # noqa: BLE001 - the parser below finds the reason
                self._one_by_one = True
                self._batch = self._parse() if self._header else self._legacy(error)
            else:
                return records, len(records) < most
        records, headers = [], 0
        for record in self._batch:
            records.append(record)
            headers += len(record.headers)
            if len(records) >= most or headers > MAX_HEADERS:
                return records, False
        return records, True

    def _decode(self, most: int) -> list[Fetched]:
        topic, partition = self._tp
        return [
            ConsumerRecord(
                topic,
                partition,
                record.offset,
                record.timestamp,
                record.timestamp_type,
                key := record.key,
                value := record.value,
                record.checksum,
                -1 if key is None else len(key),
                -1 if value is None else len(value),
                tuple(record.headers),
            )
            for record in islice(self._batch or (), most)
        ]

    def _check_order(self, records: list[Fetched]) -> None:
        """Check that offsets increase from the position on, within the batch; gaps are allowed."""
        if not records:
            return
        offsets = list(map(_OFFSET, records))
        first = offsets[0]
        if first < self.next_fetch_offset or offsets[-1] >= self._end:
            raise ValueError("the offset of a record is outside its batch")
        if offsets != list(range(first, first + len(offsets))) and not all(
            before < after for before, after in pairwise(offsets)
        ):
            raise ValueError("the offsets of a batch do not increase")

    def _parse(self) -> Iterator[Fetched]:
        """The records of the batch from the position on, parsed one by one in Python."""
        header, (topic, partition) = self._header, self._tp
        assert header is not None
        bad = 0
        for record in read_records(
            memoryview(self._plain)[HEADER_BYTES:], header.records, header.last_offset_delta
        ):
            offset = header.base_offset + record.offset_delta
            if offset < self.next_fetch_offset:
                continue
            if offset > header.last_offset:
                return
            if isinstance(record, BadRecord):
                bad += 1
                ends = record.ends or bad >= MAX_BAD_RECORDS
                last = header.last_offset if ends else offset
                yield self._refused(record.raw, offset, last, record.reason)
                if ends:
                    return
                continue
            stamp = wrapped(header.first_timestamp + record.timestamp_delta)
            yield ConsumerRecord(
                topic,
                partition,
                offset,
                header.max_timestamp if header.log_append_time else stamp,
                int(header.log_append_time),
                record.key,
                record.value,
                None,
                -1 if record.key is None else len(record.key),
                -1 if record.value is None else len(record.value),
                record.headers,
            )

    def _legacy(self, error: Exception) -> Iterator[Fetched]:
        raw, start = bytes(self._plain), self.next_fetch_offset
        yield self._refused(raw, start, max(start, self._end - 1), str(error) or repr(error))

    # -- refusing

    def _last_offset(self, raw: memoryview) -> int:
        offset, _ = read_prefix(raw)
        last = offset if self._header is None else self._header.last_offset
        return max(self.next_fetch_offset, last)

    def _refuse(self, raw: bytes, last: int, reason: str, taken: list[Fetched]) -> None:
        start = self.next_fetch_offset
        if self._header is not None:
            start = max(start, self._header.base_offset)
        refused = self._refused(raw, start, last, reason)
        self.next_fetch_offset = last + 1
        if self._limits.keep:
            taken.append(refused)

    def _refused(self, raw: bytes, start: int, last: int, reason: str) -> RefusedBatch:
        header, (topic, partition) = self._header, self._tp
        refused = RefusedBatch(
            topic=topic,
            partition=partition,
            offset=start,
            last_offset=last,
            timestamp=-1 if header is None else header.max_timestamp,
            timestamp_type=0 if header is None else int(header.log_append_time),
            value=raw,
            reason=reason,
        )
        self._limits.refused(refused)
        return refused
