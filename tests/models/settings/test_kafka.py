import pytest

from models.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("kafka.bootstrap", "host:abc", "'abc' is not a port"),
        ("kafka.bootstrap", "host:70000", "'70000' is not a port"),
        ("kafka.bootstrap", "host:0", "'0' is not a port"),
        ("kafka.bootstrap", "host:-1", "'-1' is not a port"),
        ("kafka.bootstrap", "host:¹", "is not a port"),
        ("kafka.bootstrap", "host", "'host' is not HOST:PORT"),
        ("kafka.bootstrap", "", "'' is not HOST:PORT"),
        ("kafka.bootstrap", "a:1,,b:2", "'' is not HOST:PORT"),
        ("kafka.bootstrap", "PLAINTEXT://host:9092", "is not HOST:PORT"),
        ("kafka.bootstrap", "::1:9092", "IPv6 address into brackets"),
        ("kafka.group", "two words", "'two words' may have letters"),
        ("kafka.group", "a/b", "'a/b' may have letters"),
        ("kafka.group", "", "kafka.group"),
        ("topics.passed", "a/b", "'a/b' may have letters"),
        ("topics.passed", "a" * 250, "at most 249"),
        ("log.format", "xml", "log.format"),
    ],
)
def test_addresses_and_names_are_checked_before_anything_connects(
    key: str, value: str, told: str
) -> None:
    """The message names the key, what was found, and what would be right."""
    with pytest.raises(SettingsError) as error:
        Settings().override({key: value})
    assert told in str(error.value)
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_several_servers_and_ipv6_are_addresses() -> None:
    """Blanks around the commas are as good as none."""
    settings = Settings().override({"kafka.bootstrap": "a:1, [::1]:65535"})
    assert settings.kafka.servers == ["a:1", "[::1]:65535"]
