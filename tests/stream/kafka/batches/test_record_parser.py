"""Header names keep their bytes, whatever these are."""

from stream.kafka.batches import HeaderName


def test_a_header_name_that_is_not_utf8_keeps_its_bytes() -> None:
    name = HeaderName.of(b"x\xff\xed\xa0\x80")
    assert name.encode() == b"x\xff\xed\xa0\x80"
    assert name != "x"
    assert type(HeaderName.of("naïve".encode())) is str
