"""Alerts over hours, in Prometheus's own rule tests: quiet while all is well, firing when not.

A case is an hour of a healthy deployment with some of its series changed from minute 20 on; it
says which alerts fire at which minute, and by that also which do not.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from deployment import ALERTS, DEPLOY

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool")

STEP_S = 30
HEALTHY = 40  # samples until something changes: minute 20
LENGTH = 240
WORKERS = ("a", "b")
Series = dict[str, str]


def flat(value: float) -> str:
    """The same all the time."""
    return f"{value:g}+0x{LENGTH}"


def rising(per_second: float, start: float = 0.0) -> str:
    """A counter."""
    return f"{start:g}+{per_second * STEP_S:g}x{LENGTH}"


def until_then(before: str, after: str = "stale") -> str:
    """`before` for twenty minutes, then `after`; without it the scrapes fail from then on."""
    return re.sub(rf"x{LENGTH}$", f"x{HEALTHY}", before) + f" {after}"


def stops(per_second: float) -> str:
    """A counter that stands still after twenty minutes."""
    return until_then(rising(per_second), f"{per_second * STEP_S * HEALTHY:g}+0x{LENGTH}")


def stopped(counter: str) -> str:
    """A counter as `rising` makes it, which stands still after twenty minutes."""
    return stops(float(counter.split("+")[1].split("x", maxsplit=1)[0]) / STEP_S)


def process(name: str, role: str, conditions: tuple[str, ...]) -> Series:
    """What every process exports."""
    at = f'instance="{name}",job="weir-{role}"'
    return {
        f'weir_build_info{{{at},role="{role}",scanner="compiled"}}': flat(1),
        f"weir_scanner_compiled{{{at}}}": flat(1),
        f"weir_memory_limit_bytes{{{at}}}": flat(5e8),
        f"process_resident_memory_bytes{{{at}}}": flat(3e8),
        f'weir_ready{{{at},role="{role}"}}': flat(1),
        f"process_start_time_seconds{{{at}}}": flat(0),
        **{
            f'weir_ready_condition{{{at},role="{role}",condition="{condition}"}}': flat(1)
            for condition in conditions
        },
    }


def groups(name: str) -> Series:
    """Lag as any process tells it, of two partitions of each group."""
    topics = {"weir": ["bid-requests"], "weir-feedback": ["outcomes", "feedback-joins"]}
    at = f'instance="{name}"'
    lags = {
        f'weir_group_lag{{{at},group="{group}",topic="{topic}",partition="{number}"}}': flat(100)
        for group, names in topics.items()
        for topic in names
        for number in range(2)
    }
    return {f"weir_workers_expected{{{at}}}": flat(2), **lags}


def worker(name: str) -> Series:
    """A worker that decides 500 requests a second and intercepts 0.6 of them."""
    at = f'instance="{name}"'
    return {
        **process(name, "worker", ("partitions", "broker", "progress", "model")),
        **groups(name),
        f"weir_requests_total{{{at}}}": rising(505),
        f'weir_rejects_total{{{at},code="invalid-json"}}': rising(1),
        f'weir_verdicts_total{{{at},verdict="block",reason="score"}}': rising(300),
        f'weir_verdicts_total{{{at},verdict="pass",reason="score"}}': rising(200),
        f"weir_intercepts_due_total{{{at}}}": rising(300),
        f"weir_capacity{{{at}}}": flat(0),
        f"weir_distrusted_stamps_total{{{at}}}": rising(1),
        f"weir_throttled_seconds_total{{{at}}}": flat(0),
        f"weir_fail_open{{{at}}}": flat(0),
        f"weir_fleet_shared{{{at}}}": flat(1),
        f"weir_model_age_seconds{{{at}}}": rising(1, 40 * 86_400),  # what ships is weeks old
        f'weir_model_info{{{at},version="v1"}}': flat(1),
        f'weir_chunk_seconds_bucket{{{at},le="0.1"}}': rising(10),
        f'weir_chunk_seconds_bucket{{{at},le="2"}}': rising(10),
        f'weir_chunk_seconds_bucket{{{at},le="+Inf"}}': rising(10),
    }


def feedback(name: str = "f") -> Series:
    """A feedback worker whose outcomes come."""
    event = f'weir_feedback_events_total{{instance="{name}",fate='
    return {
        **process(name, "feedback", ("partitions", "broker", "progress")),
        **groups(name),
        f'{event}"requests"}}': rising(400),
        f'{event}"joined"}}': rising(200),
        f'{event}"held"}}': rising(1),
        f'weir_feedback_keep_share{{instance="{name}",partition="0"}}': flat(1),
    }


def trainer(name: str = "t") -> Series:
    """A trainer that stores what comes, and rebuilt at the start."""
    at = f'instance="{name}"'
    return {
        **process(name, "trainer", ("broker",)),
        f"weir_trainer_last_progress_timestamp_seconds{{{at}}}": rising(1),
        f"weir_trainer_store_rows{{{at}}}": rising(400),
        f"weir_trainer_lag{{{at}}}": flat(100),
        f'weir_trainer_rebuilds_total{{{at},result="published"}}': flat(1),
        f'weir_trainer_rebuilds_total{{{at},result="failed"}}': flat(0),
        f'weir_trainer_errors_total{{{at},kind="fetch"}}': flat(1),
    }


def deployment() -> Series:
    """Two workers, feedback, trainer; all is well."""
    return {**worker("a"), **worker("b"), **feedback(), **trainer()}


def change(
    series: Series, pattern: str, values: str | Callable[[str], str], *, least: int = 1
) -> None:
    """Change the series whose names match; at least so many."""
    names = [name for name in series if re.search(pattern, name)]
    assert len(names) >= least, pattern
    for name in names:
        series[name] = values if isinstance(values, str) else values(series[name])


def killed(name: str) -> Callable[[Series], None]:
    """All that a process exports ends."""
    return lambda series: change(series, f'instance="{name}"', until_then)


def fresh_install(series: Series) -> None:
    """The shipped artifact serves, nothing was ever rebuilt, no outcome has ever come."""
    change(series, "rebuilds_total", flat(0))
    change(series, 'fate="(joined|held)"', flat(0))
    change(series, "trainer_store_rows", flat(0))


def under_capacity(series: Series) -> None:
    """60 a second of 1,000 pass: a true share of 0.94, which is what is due."""
    change(series, "weir_capacity", flat(60), least=2)
    change(series, 'verdict="pass"', rising(30))
    change(series, 'verdict="block"', rising(470))
    change(series, "intercepts_due", rising(470))


def with_scenarios(series: Series) -> None:
    """Scenarios with rates of their own on one worker, and a rate that was steered on both."""
    change(series, 'verdict="block"|intercepts_due', until_then(rising(300), "360000+13500x200"))
    change(series, 'verdict="pass"', until_then(rising(200), "240000+1500x200"))


def no_traffic(series: Series) -> None:
    """Nothing comes for an hour, and nothing waits but a marker at each partition's end."""
    change(
        series, "requests_total|verdicts_total|due_total|rejects_total|distrusted|chunk", stopped
    )
    change(series, "group_lag", flat(1))


def without_limits(series: Series) -> None:
    """Outside of a container nothing limits memory."""
    change(series, "memory_limit", flat(0))


def rebalance(series: Series) -> None:
    """Partitions are away for a minute; a worker is replaced within one."""
    change(series, 'condition="partitions"', f"1x{HEALTHY} 0 0 1x{LENGTH}")
    change(series, "weir_build_info.*b|weir_ready.*b", f"1x{HEALTHY} _ _ 1x{LENGTH}")


def broker_frozen(series: Series) -> None:
    """Nobody gets an answer, so nothing is read; lag stands where it was last seen."""
    change(series, 'condition="broker"', until_then(flat(1), f"0x{LENGTH}"))
    change(series, "requests_total|verdicts_total|due_total|rejects_total", stopped)


def lag_grows(series: Series) -> None:
    """1,000 more wait every second, of partitions whose worker died and whose heir is slow."""
    killed("b")(series)
    change(series, 'a",group="weir",', until_then(flat(100), f"100+15000x{LENGTH}"))


def garbage(series: Series) -> None:
    """Three of a hundred requests are broken."""
    change(series, "rejects_total", until_then(rising(1), f"1200+450x{LENGTH}"))


def refused(series: Series) -> None:
    """Somebody writes nonsense to the control topic."""
    series['weir_refused_messages_total{instance="a",topic="control"}'] = f"_x{HEALTHY} 1x{LENGTH}"


def rate_off(series: Series) -> None:
    """A worker blocks two points more than it should."""
    change(series, 'verdict="block"', until_then(rising(300), "360000+9900x200"))


def jammed(series: Series) -> None:
    """A record a day ahead holds a capacity up: next to nothing passes."""
    under_capacity(series)
    change(series, 'verdict="pass"', until_then(rising(30), "36000+3x200"))
    change(series, 'verdict="block"|intercepts_due', until_then(rising(470), "564000+15000x200"))


def artifact_missing(series: Series) -> None:
    """What was announced is not there, and nothing else is: everything passes."""
    change(series, "fail_open|condition=.model", until_then(flat(0), f"1x{LENGTH}"))
    series['weir_model_refusals_total{instance="a",code="missing-file"}'] = (
        f"_x{HEALTHY} 1x{LENGTH}"
    )


def always(pattern: str, values: str) -> Callable[[Series], None]:
    """A change of some series."""
    return lambda series: change(series, pattern, values)


def begins(name: str, partition: str = "") -> Callable[[Series], None]:
    """A series that is not there before something happened, and 1 from then on."""
    more = f",partition={partition}" if partition else ""
    at = f'{{instance="a",topic="bid-requests"{more}}}'
    return lambda series: series.update({name + at: f"_x{HEALTHY} 1+0x{LENGTH}"})


QUIET: Mapping[str, Callable[[Series], None]] = {
    "healthy": lambda _: None,
    "fresh install": fresh_install,
    "capacity": under_capacity,
    "scenarios": with_scenarios,
    "no limits": without_limits,
    "rebalance": rebalance,
    "no traffic": no_traffic,
}

FIRING: Mapping[str, tuple[Callable[[Series], None], int, set[str]]] = {
    "nothing runs": (lambda series: series.clear(), 20, {
        "WeirNoWorker", "WeirNoFeedback", "WeirNoTrainer",
    }),
    "a worker killed": (killed("b"), 24, {"WeirWorkersMissing"}),
    "feedback stopped": (killed("f"), 31, {"WeirNoFeedback"}),
    "trainer stopped": (killed("t"), 41, {"WeirNoTrainer"}),
    "trainer stuck": (
        always("last_progress", until_then(rising(1), f"1200x{LENGTH}")), 40, {"WeirTrainerStuck"},
    ),
    "broker frozen": (broker_frozen, 23, {"WeirBrokerAway"}),
    "broker frozen for long": (broker_frozen, 27, {"WeirBrokerAway", "WeirNothingRead"}),
    "outcomes stopped": (
        always('fate="(joined|held)"', stops(200)), 45, {"WeirOutcomesStopped"},
    ),
    "artifact missing": (artifact_missing, 25, {"WeirFailOpen", "WeirModelRefused"}),
    "garbage": (garbage, 30, {"WeirRejectsSpike"}),
    "garbage on control": (refused, 23, {"WeirMessagesRefused"}),
    "shared rate lost": (
        always('shared{instance="a"', until_then(flat(1), f"0x{LENGTH}")), 26, {"WeirRateAlone"},
    ),
    "retention": (begins("weir_records_missed_total", '"0"'), 23, {"WeirRecordsLost"}),
    "offsets expired": (begins("weir_offsets_missing_total"), 23, {"WeirOffsetsMissing"}),
    "corrupt batch": (begins("weir_partition_held", '"0"'), 23, {"WeirPartitionHeld"}),
    "output missing": (begins("weir_topic_waiting"), 23, {"WeirTopicWaiting"}),
    "timestamps refused": (begins("weir_outputs_refused_total"), 23, {"WeirOutputsRefused"}),
    "quota": (
        always("throttled", until_then(flat(0), f"0+15x{LENGTH}")), 40, {"WeirThrottled"},
    ),
    "a clock that is wrong": (
        always("distrusted", until_then(rising(1), f"1200+3000x{LENGTH}")), 40,
        {"WeirClocksDistrusted"},
    ),
    "too much for the join": (
        always("keep_share", until_then(flat(1), f"0.5+0x{LENGTH}")), 32, {"WeirJoinShort"},
    ),
    "a full disk": (
        always('kind="fetch"', until_then(flat(1), f"1+3x{LENGTH}")), 30, {"WeirTrainerErrors"},
    ),
    "rate off": (rate_off, 45, {"WeirRateOffTarget"}),
    "capacity jammed": (jammed, 45, {"WeirCapacityUnused"}),
    "lag of a dead worker": (lag_grows, 45, {
        "WeirWorkersMissing", "WeirLagGrowing", "WeirFarBehind",
    }),
    "feedback behind": (
        always('group="weir-feedback"', until_then(flat(100), f"100+9000x{LENGTH}")),
        35, {"WeirFeedbackLagGrowing"},
    ),
    "no partitions": (
        always('b".*condition="partitions"', until_then(flat(1), f"0x{LENGTH}")),
        26, {"WeirNotReady"},
    ),
    "restarts": (
        always('process_start.*"f"', "0x40 1200x4 1320x4 1440x4 1560x200"), 30, {"WeirRestarting"},
    ),
    "memory short": (
        always('resident.*"f"', until_then(flat(3e8), f"4.8e8+0x{LENGTH}")), 26,
        {"WeirMemoryShort"},
    ),
    "slow": (
        always('bucket{.*le="0.1"', until_then(rising(10), f"12000+240x{LENGTH}")),
        36, {"WeirSlowChunks"},
    ),
    "two versions": (
        lambda series: series.update({
            'weir_model_info{instance="b",version="v2"}': f"_x{HEALTHY} 1x{LENGTH}",
        }),
        36, {"WeirVersionsDiffer"},
    ),
    "no scanner": (
        always('scanner_compiled{instance="a"', flat(0)), 6, {"WeirScannerMissing"},
    ),
    "trainer behind": (
        always("trainer_lag", until_then(flat(100), f"100+9000x{LENGTH}")),
        55, {"WeirTrainerLagGrowing"},
    ),
    "rebuilds fail": (
        always('result="failed"', until_then(flat(0), "0x2 1x2 2x2 3x200")), 30,
        {"WeirRebuildsFail"},
    ),
}  # fmt: skip


def firing(series: Series, minutes: list[int], folder: Path) -> str:
    """What promtool has against no alert firing at these minutes, empty if none does."""
    return promtool(series, {minute: set() for minute in minutes}, folder)


def promtool(series: Series, expected: Mapping[int, set[str]], folder: Path) -> str:
    """Run one rule test: which alerts fire at which minute, exactly; empty if that is so."""
    test = {
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "evaluation_interval": f"{STEP_S}s",
        "tests": [
            {
                "interval": f"{STEP_S}s",
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{minute}m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1}
                            for name in sorted(names)
                        ],
                    }
                    for minute, names in expected.items()
                ],
            }
        ],
    }
    path = folder / "rules.json"  # JSON is YAML
    path.write_text(json.dumps(test))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], check=False, capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("case", QUIET)
def test_quiet(case: str, tmp_path: Path) -> None:
    """No alert fires in an ordinary hour and a half."""
    series = deployment()
    QUIET[case](series)
    assert firing(series, [2, 10, 19, 22, 25, 30, 45, 60, 90], tmp_path) == ""


@pytest.mark.parametrize("case", FIRING)
def test_fires(case: str, tmp_path: Path) -> None:
    """The alerts of a failure fire, those and no others; before it none does."""
    series = deployment()
    break_it, minute, alerts = FIRING[case]
    break_it(series)
    assert promtool(series, {minute: alerts}, tmp_path) == ""


def test_model_that_grows_old(tmp_path: Path) -> None:
    """With a trainer that has been there for three days, the age of the model counts."""
    series = deployment()
    assert promtool(series, {100: set()}, tmp_path) == ""
    trained = {
        'weir_trainer_store_rows{instance="t"}': "5x1000",
        'weir_model_age_seconds{instance="a"}': "0+600x1000",
        'weir_fail_open{instance="a"}': "0x1000",
    }
    test = {
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "evaluation_interval": "10m",
        "tests": [
            {
                "interval": "10m",
                "input_series": [{"series": k, "values": v} for k, v in trained.items()],
                "promql_expr_test": [
                    {
                        "expr": 'count(ALERTS{alertstate="firing",alertname="WeirModelOld"})',
                        "eval_time": f"{hours}h",
                        "exp_samples": [{"labels": "{}", "value": 1}] if hours > 73 else [],
                    }
                    for hours in (70, 74)
                ],
            }
        ],
    }
    path = tmp_path / "old.json"
    path.write_text(json.dumps(test))
    command = ["promtool", "test", "rules", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case() -> None:
    """No alert is untested."""
    tested = set().union(*(alerts for _, _, alerts in FIRING.values()), {"WeirModelOld"})
    rules = {rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]}
    assert rules - tested == set()
