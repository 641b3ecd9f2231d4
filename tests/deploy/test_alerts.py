"""Alerts over hours, in Prometheus's own rule tests: quiet while all is well, firing when not.

A case is an hour of a healthy deployment with some of its series changed from minute 20 on, and the
alerts that fire at a given minute; no others may.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployment import ALERTS
from tests.deploy.failures import FIRING, QUIET
from tests.deploy.promtool import firing_at, run_checks
from tests.deploy.series import deployment

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool")

QUIET_MINUTES = (2, 10, 19, 22, 25, 30, 45, 60, 90)


@pytest.mark.parametrize("case", QUIET)
def test_quiet(case: str, tmp_path: Path) -> None:
    """No alert fires in an ordinary hour and a half."""
    series = deployment()
    QUIET[case](series)
    assert firing_at(series, {minute: set() for minute in QUIET_MINUTES}, tmp_path) == ""


@pytest.mark.parametrize("case", FIRING)
def test_fires(case: str, tmp_path: Path) -> None:
    """The alerts of a failure fire, those and no others; before it none does."""
    series = deployment()
    break_it, minute, alerts = FIRING[case]
    break_it(series)
    assert firing_at(series, {minute: alerts}, tmp_path) == ""


def test_model_that_grows_old(tmp_path: Path) -> None:
    """With a trainer that has been there for three days, the age of the model counts."""
    assert firing_at(deployment(), {100: set()}, tmp_path) == ""
    trained = {
        'weir_trainer_store_rows{instance="t"}': "5x1000",
        'weir_model_age_seconds{instance="a"}': "0+600x1000",
        'weir_fail_open{instance="a"}': "0x1000",
    }
    checks = [
        {
            "expr": 'count(ALERTS{alertstate="firing",alertname="WeirModelOld"})',
            "eval_time": f"{hours}h",
            "exp_samples": [{"labels": "{}", "value": 1}] if hours > 73 else [],
        }
        for hours in (70, 74)
    ]
    assert run_checks(trained, checks, "10m", tmp_path) == ""


def test_a_rebuild_that_does_not_end(tmp_path: Path) -> None:
    """After six hours of running, and not before."""
    running = {
        'weir_trainer_rebuilding{instance="t"}': "1x600",
        'weir_trainer_rebuild_started_timestamp_seconds{instance="t"}': "0x600",
    }
    assert run_checks(running, firing("WeirRebuildStuck", {5: 0, 7: 1}), "2m", tmp_path) == ""


def test_labels_of_one_task_that_stop(tmp_path: Path) -> None:
    """After six hours without; a task that never had any, and one that goes on, are no failure."""
    series = {
        'weir_trainer_examples_total{instance="t",fate="immature"}': "0+1000x2000",
        'weir_trainer_positives_total{instance="t",task="click"}': "0+100x2000",
        'weir_trainer_positives_total{instance="t",task="cart"}': "0x2000",
        'weir_trainer_positives_total{instance="t",task="deal"}': "0+5x600 3000x1400",
    }
    checks = firing("WeirLabelsStopped", {9: 0, 14: 0, 17: 1})
    assert run_checks(series, checks, "1m", tmp_path) == ""


def firing(alert: str, expected: Mapping[int, int]) -> list[dict[str, Any]]:
    """Checks that so many alerts of a name fire, by hour."""
    return [
        {
            "expr": f'count(ALERTS{{alertstate="firing",alertname="{alert}"}})',
            "eval_time": f"{hours}h",
            "exp_samples": [{"labels": "{}", "value": number}] if number else [],
        }
        for hours, number in expected.items()
    ]


def test_every_alert_has_a_case() -> None:
    """No alert is untested."""
    apart = {"WeirModelOld", "WeirRebuildStuck", "WeirLabelsStopped"}
    tested = set().union(*(alerts for _, _, alerts in FIRING.values()), apart)
    rules = {rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]}
    assert rules - tested == set()
