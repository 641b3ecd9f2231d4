"""Runs rule tests of the alerts that are deployed with promtool."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy.deployment import DEPLOY
from tests.deploy.series import STEP_S, Series


def firing_at(series: Series, expected: Mapping[int, set[str]], folder: Path) -> str:
    """Compare the alerts that fire at some minutes with those expected, and no others.

    Returns:
        What promtool reports; empty if exactly those fire.
    """
    checks = [
        {
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)
            ],
        }
        for minute, names in expected.items()
    ]
    return run_checks(series, checks, f"{STEP_S}s", folder)


def run_checks(series: Series, checks: list[dict[str, Any]], interval: str, folder: Path) -> str:
    """Run one rule test: series sampled and rules evaluated at an interval; empty if it passes."""
    test = {
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "evaluation_interval": interval,
        "tests": [
            {
                "interval": interval,
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": checks,
            }
        ],
    }
    path = folder / "rules.json"  # JSON is YAML
    path.write_text(json.dumps(test))
    command = ["promtool", "test", "rules", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr
