"""`weir broker` and its options."""

from pathlib import Path

import pytest

from tests.stream.cli.process import output_of, weir


def test_a_broker_on_no_port_is_told_which_there_are(tmp_path: Path) -> None:
    """A number that is no port is refused as any wrong option is."""
    assert "less than or equal to 65535" in output_of(weir(tmp_path, "broker", "--port", "99999"))


@pytest.mark.parametrize("option", [["--nodes", "3"], ["--security", "tls"], ["--acls"]])
def test_options_of_apache_kafka_need_it(tmp_path: Path, option: list[str]) -> None:
    """The embedded broker has none of them."""
    output = output_of(weir(tmp_path, "broker", "--port", "0", *option))
    assert "--nodes, --security and --acls need --kafka" in output
