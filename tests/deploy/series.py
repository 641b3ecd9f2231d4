"""Series of a healthy deployment as promtool reads them, and changes from minute 20 on."""

import re
from collections.abc import Callable

STEP_S = 30
HEALTHY = 40  # samples until something changes: minute 20
LENGTH = 240
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
    """Lag of two partitions of each group, which every process exports."""
    topics = {"weir": ["bid-requests"], "weir-feedback": ["bid-requests-passed"]}
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
        f'weir_model_info{{{at},version="v1",role="serve"}}': flat(1),
        f'weir_chunk_seconds_bucket{{{at},le="0.1"}}': rising(10),
        f'weir_chunk_seconds_bucket{{{at},le="2"}}': rising(10),
        f'weir_chunk_seconds_bucket{{{at},le="+Inf"}}': rising(10),
    }


def feedback(name: str = "f") -> Series:
    """A feedback worker that makes an example of every passed request."""
    return {
        **process(name, "feedback", ("partitions", "broker", "progress")),
        **groups(name),
        f'weir_feedback_requests_total{{instance="{name}",fate="example"}}': rising(400),
    }


def trainer(name: str = "t") -> Series:
    """A trainer that stores what comes, and rebuilt at the start."""
    at = f'instance="{name}"'
    return {
        **process(name, "trainer", ("broker",)),
        f"weir_trainer_last_progress_timestamp_seconds{{{at}}}": rising(1),
        f"weir_trainer_store_rows{{{at}}}": rising(400),
        f'weir_trainer_examples_total{{{at},fate="accepted"}}': rising(400),
        f'weir_trainer_outcomes_total{{{at},fate="accepted"}}': rising(200),
        f"weir_trainer_lag{{{at}}}": flat(100),
        f'weir_trainer_rebuilds_total{{{at},result="published"}}': flat(1),
        f'weir_trainer_rebuilds_total{{{at},result="failed"}}': flat(0),
        f'weir_trainer_errors_total{{{at},kind="fetch"}}': flat(1),
        f'weir_trainer_positives_total{{{at},task="click"}}': rising(20),
        f'weir_trainer_positives_total{{{at},task="deal"}}': rising(1),
        f"weir_trainer_rebuilding{{{at}}}": flat(0),
        f"weir_trainer_rebuild_started_timestamp_seconds{{{at}}}": flat(0),
        f"weir_trainer_refused_in_row{{{at}}}": flat(2),
        f"weir_drift_alarm{{{at}}}": flat(0),
        f'weir_quality_calibration{{{at},task="click"}}': flat(0.7),
        f'weir_quality_error{{{at},task="click"}}': flat(0.1),
        f'weir_quality_learned_from{{{at},task="click"}}': flat(0),
    }


def deployment() -> Series:
    """Two workers, feedback, trainer; all is well."""
    return {**worker("a"), **worker("b"), **feedback(), **trainer()}


def change(
    series: Series, pattern: str, values: str | Callable[[str], str], *, least: int = 1
) -> None:
    """Change the series whose names match, `least` or more of them."""
    names = [name for name in series if re.search(pattern, name)]
    assert len(names) >= least, pattern
    for name in names:
        series[name] = values if isinstance(values, str) else values(series[name])
