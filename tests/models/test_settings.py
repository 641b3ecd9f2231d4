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
