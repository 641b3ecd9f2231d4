import pytest

from models.nets.config import KINDS
from models.settings import SettingsError, load_settings
from trainer.training.config import AUTO, UNCERTAINTIES, TrainConfig


@pytest.mark.parametrize("kind", KINDS)
def test_settings_choose_the_teacher(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested keys replace single defaults; text of the environment becomes numbers."""
    monkeypatch.setenv("WEIR_TRAINING__NET__KIND", kind)
    monkeypatch.setenv("WEIR_TRAINING__TEACHER__SAMPLES", "7")
    config = TrainConfig.of(load_settings().training)
    default = TrainConfig()
    assert (config.net.kind, config.teacher.samples) == (kind, 7)
    assert config.net.expert == default.net.expert
    assert config.distillation == default.distillation


def test_nothing_said_is_the_default_and_quick_is_where_a_trial_starts() -> None:
    """Without keys the presets are what they are, and keys change either of them."""
    assert TrainConfig.of({}) == TrainConfig()
    assert TrainConfig.of({}, quick=True) == TrainConfig().quick()
    changed = TrainConfig.of({"distillation": {"epochs": 9}}, quick=True)
    assert changed.distillation.epochs == 9
    assert changed.teacher == TrainConfig().quick().teacher


@pytest.mark.parametrize("method", [*UNCERTAINTIES, AUTO])
def test_every_uncertainty_can_be_chosen(method: str) -> None:
    """What the registry names, and auto, is what settings may say."""
    assert TrainConfig.of({"uncertainty": method}).uncertainty == method


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"uncertainity": "swag"}, r"training\.uncertainity: unknown key; did you mean 'uncertain"),
        ({"net": {"knd": "mmoe"}}, r"training\.net\.knd: unknown key; did you mean 'kind'"),
        (
            {"net": {"kind": "forest"}},
            r"training\.net\.kind: .*known are single-task, .*found 'forest'",
        ),
        (
            {"uncertainty": "swagg"},
            r"training\.uncertainty: .*did you mean 'swag'.*'swagg'",
        ),
        ({"teacher": {"samples": "many"}}, r"training\.teacher\.samples: .*found 'many'"),
        ({"net": 3}, r"training\.net: .*found 3"),
    ],
)
def test_faults_name_their_key_and_the_fix(training: dict[str, object], expected: str) -> None:
    """A misspelt key, an unknown kind and a wrong type are one line each."""
    with pytest.raises(SettingsError, match=expected) as error:
        TrainConfig.of(training)
    assert "Value error" not in str(error.value)


def test_a_manifest_s_configuration_is_read_back() -> None:
    """What is stored as JSON gives the same configuration again, tuples included."""
    config = TrainConfig.of({"teacher": {"task_weights": [1.0, 2.0]}, "student": {"hidden": [8]}})
    assert config.teacher.task_weights == (1.0, 2.0)
    assert config.student.hidden == (8,)
    assert TrainConfig.of(config.to_dict()) == config
