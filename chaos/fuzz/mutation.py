"""Mutations of inputs: bytes are changed, moved, repeated, cut and spliced."""

import random
from collections.abc import Sequence
from typing import Final

LONGEST: Final = 1 << 16
#: Byte sequences that are critical for parsers of text, JSON, TOML and protobuf.
TOKENS: Final = (
    *(b"null", b"true", b"-0", b"0.0", b"1e308", b"1e999", b"-1e-400", b"NaN", b"Infinity", b"inf"),
    *(b"9223372036854775807", b"-9223372036854775808", b"18446744073709551616", b"9" * 400),
    *(
        b"0.1",
        b"2.5e-5",
        b"253402300800000",
        b'""',
        b'"',
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\\u0061",
    ),
    *(b"[]", b"{}", b"[", b"]", b"{", b"}", b":", b",", b"=", b"#", b"\n", b"\r\n", b"\t", b"\0"),
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\xef\xbb\xbf"),
    *(b"[" * 2000, b'{"a":' * 2000, b"'''", b'"""', b"[[", b"]]", b".a" * 300, b"../", b"::", b"*"),
    *(b"\x80\x80\x80\x80\x80", b"\xff" * 9 + b"\x01", b"\x08\x80\x00", b"\x3a\x00", b"\x0b\x0c"),
)


class Mutator:
    """Mutates inputs at random.

    Args:
        rng: Source of randomness.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ways = (
            self._flip, self._replace, self._insert, self._delete, self._double, self._token,
            self._token, self._digits, self._swap, self._cut,
        )  # fmt: skip

    def mutate(self, data: bytes, others: Sequence[bytes]) -> bytes:
        """Apply one to eight changes to ``data``, some of them splices with another input."""
        changed = bytearray(data)
        for _ in range(1 + int(self._rng.expovariate(0.7))):
            if self._rng.random() < 0.1:
                self._splice(changed, self._rng.choice(others))
            else:
                self._rng.choice(self._ways)(changed)
        return bytes(changed[:LONGEST])

    def _at(self, data: bytearray) -> int:
        return self._rng.randrange(len(data) + 1)

    def _span(self, data: bytearray) -> slice:
        start = self._at(data)
        return slice(start, start + int(self._rng.expovariate(1 / 12)) + 1)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)

    def _replace(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] = self._rng.randrange(256)

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._rng.randbytes(1 + self._rng.randrange(4))

    def _delete(self, data: bytearray) -> None:
        del data[self._span(data)]

    def _double(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = data[self._span(data)] * (1 + self._rng.randrange(3))

    def _token(self, data: bytearray) -> None:
        at, token = self._at(data), self._rng.choice(TOKENS)
        end = at if self._rng.random() < 0.5 else at + self._rng.randrange(len(token) + 1)
        data[at:end] = token

    def _digits(self, data: bytearray) -> None:
        """Replace a number."""
        places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
        if not places:
            return
        at = self._rng.choice(places)
        end = at
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        data[at:end] = b"%d" % self._rng.choice((0, 1, 255, 2**31, 2**32, 2**53 + 1, 2**63, 2**64))

    def _swap(self, data: bytearray) -> None:
        one, other = self._span(data), self._span(data)
        data[one], data[other] = data[other], data[one]

    def _cut(self, data: bytearray) -> None:
        if self._rng.random() < 0.3:
            del data[self._at(data) :]

    def _splice(self, data: bytearray, other: bytes) -> None:
        start = self._rng.randrange(len(other) + 1)
        end = start + 1 + self._rng.randrange(len(other) + 1)
        data[self._span(data)] = other[start:end]
