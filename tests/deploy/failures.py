"""What is ordinary and what fails in a deployment, as changes of its series, with its alerts."""

from collections.abc import Callable, Mapping

from tests.deploy.series import (
    HEALTHY,
    LENGTH,
    Series,
    change,
    flat,
    rising,
    stopped,
    stops,
    until_then,
)


def killed(name: str) -> Callable[[Series], None]:
    """All that a process exports ends."""
    return lambda series: change(series, f'instance="{name}"', until_then)


def fresh_install(series: Series) -> None:
    """The shipped artifact serves, nothing was ever rebuilt, no outcome has ever come."""
    change(series, "rebuilds_total", flat(0))
    change(series, "trainer_outcomes", flat(0))
    change(series, "trainer_store_rows|trainer_positives", flat(0))


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
    """The brokers do not answer, so nothing is read; lag stays at its last value."""
    change(series, 'condition="broker"', until_then(flat(1), f"0x{LENGTH}"))
    change(series, "requests_total|verdicts_total|due_total|rejects_total", stopped)


def lag_grows(series: Series) -> None:
    """Lag grows by 1,000 a second, for partitions that were taken over by a slow worker."""
    killed("b")(series)
    change(series, 'a",group="weir",', until_then(flat(100), f"100+15000x{LENGTH}"))


def garbage(series: Series) -> None:
    """Three of a hundred requests are broken."""
    change(series, "rejects_total", until_then(rising(1), f"1200+450x{LENGTH}"))


def refused(series: Series) -> None:
    """Malformed messages on the control topic."""
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
        always("trainer_outcomes", stops(200)), 45, {"WeirOutcomesStopped"},
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
            'weir_model_info{instance="b",version="v2",role="serve"}': f"_x{HEALTHY} 1x{LENGTH}",
        }),
        36, {"WeirVersionsDiffer"},
    ),
    "a version taken back": (
        lambda series: series.update({
            'weir_trainer_rollbacks_total{instance="t",promise="calibration"}': until_then(
                flat(0), flat(1)
            ),
        }),
        24, {"WeirVersionTakenBack"},
    ),
    "a promise broken for good": (
        lambda series: series.update({
            'weir_trainer_watch_broken{instance="t"}': until_then(flat(0), flat(1)),
        }),
        26, {"WeirPromiseBroken"},
    ),
    "no scanner": (
        always('scanner_compiled{instance="a"', flat(0)), 6, {"WeirScannerMissing"},
    ),
    "trainer behind": (
        always("trainer_lag", until_then(flat(100), f"100+9000x{LENGTH}")),
        55, {"WeirTrainerLagGrowing"},
    ),
    "candidates refused": (
        always("refused_in_row", until_then(flat(2), f"3x{LENGTH}")), 26,
        {"WeirCandidatesRefused"},
    ),
    "drift": (always("drift_alarm", until_then(flat(0), f"1x{LENGTH}")), 36, {"WeirDrift"}),
    "scores too high": (
        always("quality_error", until_then(flat(0.1), f"0.01+0x{LENGTH}")), 52,
        {"WeirMiscalibrated"},
    ),
    "no examples": (
        always("trainer_examples", stopped), 100, {"WeirTrainerStarved"},
    ),
    "rebuilds fail": (
        always('result="failed"', until_then(flat(0), "0x2 1x2 2x2 3x200")), 30,
        {"WeirRebuildsFail"},
    ),
}  # fmt: skip
