from pathlib import Path

import pytest

from models.settings import Settings, SettingsError, load_settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[policy]\nrat = 0.7\n", "policy.rat: unknown key; did you mean 'rate'?"),
        ("[policy]\nrate = 1.7\n", "policy.rate: must be less than or equal to 1"),
        ("[policy]\nslack = 1e8\n", "policy.slack: must be less than or equal to 1000"),
        ("[policy]\ncapacity = inf\n", "policy.capacity: must be less than or equal to"),
        ("[policy.window]\nseconds = 1e308\n", "policy.window.seconds: must be less"),
        ("[policy.window]\nrequests = 100000000\n", "policy.window.requests: must be less"),
        ("[policy.weights]\nclik = 1\n", "'clik' is not a task; the tasks are click, online"),
        ("[policy]\nrate = true\n", "policy.rate: must be a number, not a boolean"),
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


def test_a_section_in_the_environment_that_is_no_json_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its variable, not by a class of a library."""
    monkeypatch.setenv("WEIR_POLICY", '{"rate": ')
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value) == (
        "environment variable WEIR_POLICY, or WEIR_POLICY__KEY: the value is not JSON"
    )
