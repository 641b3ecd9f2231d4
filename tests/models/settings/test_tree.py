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


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that was asked for must exist."""
    with pytest.raises(SettingsError, match="no such settings file"):
        load_settings(tmp_path / "absent.toml")


def test_misspelt_section_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt section in a variable's name is an error."""
    monkeypatch.setenv("WEIR_POLCY__RATE", "0.8")
    with pytest.raises(SettingsError, match=r"WEIR_POLCY__RATE.*did you mean 'policy'"):
        load_settings()


def test_override_validates_again() -> None:
    """An override replaces single keys and refuses values that do not fit."""
    settings = Settings().override({"policy.rate": 0.25, "policy.window.requests": 500})
    assert (settings.policy.rate, settings.policy.window.requests) == (0.25, 500)
    with pytest.raises(SettingsError, match=r"policy\.rate"):
        settings.override({"policy.rate": 2})


def test_a_section_and_a_key_in_it_are_not_given_together() -> None:
    """As ``--set policy=1 --set policy.rate=0.5`` would: an error that names the key."""
    with pytest.raises(SettingsError, match=r"policy\.rate: policy is given a value of its own"):
        load_settings(flags={"policy": "1", "policy.rate": "0.5"})


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
