"""The strict wire format, alone and beside google's own reader of the same bytes."""

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact.onnxfile import OnnxFileError, read_student
from models.artifact.protobuf import Field, Kind, Message, WireError, decode, encode
from tests.tiny_artifact import tiny_student

INNER = {1: Field("number", Kind.NUMBER), 16: Field("name", Kind.TEXT, bytes=300)}
SCHEMA = {
    1: Field("one", Kind.NUMBER),
    2: Field("many", Kind.NUMBER, 5),
    3: Field("text", Kind.TEXT),
    4: Field("data", Kind.BYTES, bytes=1000),
    200: Field("inner", Kind.MESSAGE, 3, INNER),
}
NUMBERS = st.integers(0, 2**63 - 1)
INNERS = st.fixed_dictionaries({}, optional={"number": NUMBERS, "name": st.text(max_size=60)})
MESSAGES = st.fixed_dictionaries(
    {"many": st.lists(NUMBERS, max_size=5), "inner": st.lists(INNERS, max_size=3)},
    optional={
        "one": NUMBERS,
        "text": st.text(max_size=16),
        "data": st.binary(max_size=1000),
    },
)


def read(data: bytes) -> Message:
    return decode(memoryview(data), SCHEMA, "message")


@given(MESSAGES)
def test_what_is_written_is_read_again(message: Message) -> None:
    """Reading and writing are each other's inverse, on any message of the schema."""
    raw = encode(message, SCHEMA)
    assert read(raw) == message
    assert encode(read(raw), SCHEMA) == raw


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_message_or_an_error(data: bytes) -> None:
    """Nothing but WireError comes out; what is read, is written back to as many bytes."""
    try:
        message = read(data)
    except WireError:
        return
    assert sorted(encode(message, SCHEMA)) == sorted(data)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x08\x01\x08\x01", "message.one: given twice"),
        (b"\x10\x01" * 6, "message.many: more than 5"),
        (b"\x12\x01\x01", "message.many: wire type 2"),  # packed
        (b"\x28\x01", "field number 5 is not allowed"),
        (b"\x00\x01", "field number 0 is not allowed"),
        (b"\x08\x81\x00", "longer than it is"),
        (b"\x88\x00\x01", "longer than it is"),
        (b"\x88\x80\x80\x80\x80\x00\x01", "longer than it is"),  # a tag of six bytes
        (b"\x08" + b"\xff" * 9 + b"\x01", "negative or above"),
        (b"\x08\xff", "ends in the middle"),
        (b"\x1a\x05ab", "ends in the middle"),
        (b"\x1a\x02\xff\xfe", "message.text: not UTF-8"),
        (b"\x1a\x41" + b"a" * 65, "message.text: 65 bytes"),
        (b"\x0b\x08\x01\x0c", "message.one: wire type 3"),  # a group
        (b"\x09" + bytes(8), "message.one: wire type 1"),
        (b"\x0d" + bytes(4), "message.one: wire type 5"),
        (b"\xc2\x0c\x02\x10\x01", "message.inner: field number 2"),
    ],
)
def test_every_other_way_to_write_is_refused(data: bytes, fault: str) -> None:
    """Doubled, packed, unknown, overlong, negative, cut, grouped or fixed: each names its field."""
    with pytest.raises(WireError, match=fault):
        read(data)


STUDENT = tiny_student().SerializeToString()
MUTATIONS = st.lists(
    st.tuples(st.integers(0, len(STUDENT) - 1), st.integers(0, 255), st.sampled_from("=+-")),
    min_size=1,
    max_size=4,
)


def mutated(changes: list[tuple[int, int, str]]) -> bytes:
    data = bytearray(STUDENT)
    for place, byte, way in changes:
        at = min(place, len(data) - 1)
        if way == "-":
            del data[at]
        elif way == "+":
            data.insert(at, byte)
        else:
            data[at] = byte
    return bytes(data)


@settings(max_examples=500)
@given(MUTATIONS)
def test_of_a_changed_student_the_runtime_gets_what_was_understood(
    changes: list[tuple[int, int, str]],
) -> None:
    """A changed file is refused, or protobuf's own reader finds in it what was written anew."""
    data = mutated(changes)
    try:
        content = read_student(data).content
    except OnnxFileError:
        return
    assert onnx.ModelProto.FromString(data) == onnx.ModelProto.FromString(content)
    assert read_student(content).content == content
