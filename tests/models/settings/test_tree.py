from pathlib import Path

import pytest

from models.settings import Settings, SettingsError, load_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "weir.toml"
    path.write_text('[policy]\nrate = 0.7\n[kafka]\nbootstrap = "127.0.0.1:1"\ngroup = "file"\n')
    return path


def test_flags_beat_environment_beats_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source wins over the weaker ones, key by key."""
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP", "127.0.0.1:2")
    monkeypatch.setenv("WEIR_POLICY__RATE", "0.8")
    settings = load_settings(config, {"policy.rate": 0.9, "kafka.partitions": None})
    assert settings.policy.rate == 0.9
    assert settings.kafka.bootstrap == "127.0.0.1:2"
    assert settings.kafka.group == "file"
    assert settings.kafka.partitions == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[policy]\nrat = 0.7\n", "policy.rat: unknown key; did you mean 'rate'?"),
        ("[policy]\nrate = 1.7\n", "policy.rate: Input should be less than or equal to 1"),
        ("[policy]\nslack = 1e8\n", "policy.slack: Input should be less than or equal to 1000"),
        ("[policy]\ncapacity = inf\n", "policy.capacity: Input should be less than or equal to"),
        ("[policy.window]\nseconds = 1e308\n", "policy.window.seconds: Input should be less"),
        ("[policy.window]\nrequests = 100000000\n", "policy.window.requests: Input should be less"),
        ("[policy.weights]\nclik = 1\n", "'clik' is not a task; the tasks are click, online"),
        ("[policy]\nrate = true\n", "policy.rate: Input should be a number, not a boolean"),
        ("policy = 1\n", "policy: is a section; set a key in it, as policy.KEY (found an integer"),
        ('[[tasks]]\nname = "a"\n', "tasks.0.window_s: is missing"),
        ("[policy\n", "not TOML"),
        ('[[tasks]]\nname = "a"\npopulation = "b"\nwindow_s = 1\n', "tasks.a.population: 'b'"),
    ],
)
def test_error_names_key_and_fix(tmp_path: Path, text: str, expected: str) -> None:
    """A fault in the file is reported with its key and what would be right."""
    path = tmp_path / "weir.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        load_settings(path)
    assert expected in str(error.value)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that was asked for must exist."""
    with pytest.raises(SettingsError, match="no such settings file"):
        load_settings(tmp_path / "absent.toml")


def test_misspelt_section_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt section in a variable's name is an error, not silence."""
    monkeypatch.setenv("WEIR_POLCY__RATE", "0.8")
    with pytest.raises(SettingsError, match=r"WEIR_POLCY__RATE.*did you mean 'policy'"):
        load_settings()


def test_override_validates_again() -> None:
    """An override replaces single keys and refuses values that do not fit."""
    settings = Settings().override({"policy.rate": 0.25, "policy.window.requests": 500})
    assert (settings.policy.rate, settings.policy.window.requests) == (0.25, 500)
    with pytest.raises(SettingsError, match=r"policy\.rate"):
        settings.override({"policy.rate": 2})


def test_password_is_not_printed() -> None:
    """A secret never appears where settings are logged."""
    assert "hunter2" not in repr(Settings().override({"kafka.sasl_password": "hunter2"}))


@pytest.mark.parametrize(
    "text",
    [
        "sasl_password = 31415926",
        "sasl_password = [31415926]",
        'sasl_password = {"31415926" = 1}',
        "sasl_passwort = 31415926",
        "ssl_key_password = 31415926",
    ],
)
def test_a_password_that_does_not_fit_is_not_printed(tmp_path: Path, text: str) -> None:
    """An unquoted number is refused with the fix, and without the number."""
    path = tmp_path / "weir.toml"
    path.write_text(f"[kafka]\n{text}\n")
    with pytest.raises(SettingsError, match=r"kafka\.s") as error:
        load_settings(path)
    assert "31415926" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    ['{"sasl_password": 31415926}', '{"sasl_password": "31415926", "x"', '"31415926"', "31415926"],
)
def test_a_password_in_the_environment_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Nor where the whole section comes as JSON, be it sound or not."""
    monkeypatch.setenv("WEIR_KAFKA", value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "31415926" not in str(error.value)


def test_a_number_in_the_environment_is_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are texts, whatever they look like; children get them whole."""
    monkeypatch.setenv("WEIR_KAFKA__SASL_PASSWORD", "31415926")
    settings = load_settings()
    assert settings.kafka.sasl_password.get_secret_value() == "31415926"
    assert settings.secrets == ["31415926"]
    assert "31415926" not in settings.model_dump_json() + repr(settings)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WEIR_KAFKA__SASL_PASSWORD")
    assert load_settings() == settings


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
