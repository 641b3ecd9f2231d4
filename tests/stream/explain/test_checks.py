"""The log against the computation: all decisions of a real interceptor come out again."""

from typing import Any

import numpy as np
import pytest

from models.data.request_files import FileRecord
from models.features.intake import ingest
from models.settings import Settings
from stream.explain.checks import Check, check_log
from stream.explain.recompute import ControlChange, ModelUsed, Scored, model_of, score_request
from stream.explain.search import Found, Kind
from stream.messages import Decision
from tests.stream.explain.decided import decide, request, tiny_settings, with_header
from tests.tiny_artifact import Make


def scored(
    settings: Settings, record: FileRecord, control: list[ControlChange] | None = None
) -> tuple[Found, Scored, ModelUsed]:
    found = Found(Kind.DECIDED, record, decision=Decision.from_headers(record.headers))
    used = model_of(settings, found.decision.model if found.decision else None)
    times_N = np.array([record.timestamp], np.int64)
    intake = ingest(used.model.extractor, [record.value], times_N, 1_000_000)
    return found, score_request(settings, used.model, found, intake.ids_NC[0], control or []), used


def checks(
    settings: Settings, record: FileRecord, verdict: str | None, **more: Any
) -> dict[str, Check]:
    found, made, used = scored(settings, record, **more)
    return {check.name: check for check in check_log(found, verdict, made, used)}


def test_every_decision_of_an_interceptor_comes_out_again(make_artifact: Make) -> None:
    """Bit for bit, or open where only the history can tell; never different."""
    settings = tiny_settings(Settings(), make_artifact())
    log = decide(settings, [request(n) for n in range(150)])
    model = model_of(settings, "v1").model
    seen = set()
    for verdict, records in (("pass", log.passed), ("block", log.blocked)):
        for record in records:
            found = Found(Kind.DECIDED, record, decision=Decision.from_headers(record.headers))
            times_N = np.array([record.timestamp], np.int64)
            ids_C = ingest(model.extractor, [record.value], times_N, 1_000_000).ids_NC[0]
            used = ModelUsed(model, (), named=True, missing="")
            made = score_request(settings, model, found, ids_C, [])
            for check in check_log(found, verdict, made, used):
                assert check.equal is not False, (record, check)
                assert found.decision is not None
                seen.add((check.name, check.equal, found.decision.reason.label))
    assert {("e", True, "score"), ("e", True, "explore"), ("verdict", True, "explore")} <= seen
    assert ("verdict", None, "uncertain") in seen
    assert ("verdict", True, "score") in seen


def test_a_changed_log_differs(make_artifact: Make) -> None:
    """A reward in its last digit, a propensity, and a threshold that turns the verdict."""
    settings = tiny_settings(Settings(), make_artifact(), direct_share=0.0, explore=0.0)
    record = decide(settings, [request(n) for n in range(60)]).blocked[-1]
    decision = Decision.from_headers(record.headers)
    assert decision.e is not None
    assert decision.threshold is not None
    near = float(np.nextafter(np.float32(decision.e), np.float32(2)))
    changed = checks(settings, with_header(record, e=near), "block")["e"]
    assert changed.equal is False
    assert "no known settings" in changed.why
    assert (
        checks(settings, with_header(record, propensity=0.9), "block")["propensity"].equal is False
    )
    low = with_header(record, threshold=decision.e - 0.001)
    assert checks(settings, low, "block")["verdict"].equal is False
    tie = with_header(record, threshold=decision.e)
    assert checks(settings, tie, "block")["verdict"].equal is None
    untold = checks(settings, tie, None)
    assert (untold["e"].equal, untold["verdict"].equal) == (True, None)


def test_the_revision_of_control_that_was_in_force_is_found_by_the_reward(
    make_artifact: Make,
) -> None:
    """Weights that came by control; later changes, and those that are refused, do nothing."""
    settings = tiny_settings(Settings(), make_artifact(), direct_share=0.0)
    changed = tiny_settings(
        Settings(), make_artifact("other"), direct_share=0.0, weights={"click": 2.0}
    )
    record = decide(changed, [request(n) for n in range(40)]).passed[0]
    control = [
        ControlChange(0, 0, "*", {"rate": 7}),
        ControlChange(1, record.timestamp - 1, "*", {"weights": {"click": 2.0, "online": 0.0}}),
        ControlChange(2, record.timestamp + 1, "*", {"weights": {"click": 9.0}}),
    ]
    found, made, used = scored(settings, record, control)
    assert made.revisions == (2,)
    assert made.changes == 2
    assert check_log(found, "pass", made, used)[0].equal is True
    assert checks(settings, record, "pass")["e"].equal is False


def test_a_model_that_is_gone_is_named(make_artifact: Make) -> None:
    """The version is neither configured nor in the registry."""
    settings = tiny_settings(Settings(), make_artifact(), direct_share=0.0).override(
        {"model.registry": str(make_artifact("x").parent / "registry")}
    )
    record = decide(settings, [request(n) for n in range(40)]).passed[0]
    _, _, used = scored(settings, with_header(record, model="v0"))
    assert not used.named
    assert "the model 'v0' that decided is not to be had" in used.missing
    assert "no version 'v0' is published" in used.missing


def test_what_passed_without_a_model_was_not_scored(make_artifact: Make) -> None:
    """A fail-open decision is explained as one."""
    settings = tiny_settings(Settings(), make_artifact())
    record = decide(settings, [request(n) for n in range(3)]).passed[0]
    opened = with_header(record, model="", e=None, threshold=None, reason="fail-open")
    (check,) = checks(settings, opened, "pass").values()
    assert check.equal is True
    assert "no model served" in check.why


@pytest.mark.parametrize(
    ("rate", "direct", "explore", "eps"), [(0.4, 0.0, 0.1, 0.1), (0.95, 0.0, 0.2, 0.05)]
)
def test_exploration_stays_within_the_passes(
    make_artifact: Make, rate: float, direct: float, explore: float, eps: float
) -> None:
    """The propensity of a block is 1 - eps, with eps as the controller has it."""
    settings = tiny_settings(
        Settings(), make_artifact(), rate=rate, direct_share=direct, explore=explore
    )
    record = decide(settings, [request(n) for n in range(60)]).blocked[-1]
    check = checks(settings, record, "block")["propensity"]
    assert check.equal is True
    assert check.computed == pytest.approx(1 - eps)
