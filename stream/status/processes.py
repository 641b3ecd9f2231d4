"""Facts about processes from their metrics; pure."""

from collections.abc import Sequence

from stream.status.endpoints import Endpoint, Samples
from stream.status.facts import (
    LabelFacts,
    ProcessFacts,
    RebuildFacts,
    TrainerFacts,
    WorkerFacts,
)

WORKER = "worker"
FEEDBACK = "feedback"
TRAINER = "trainer"


def processes(endpoints: Sequence[Endpoint]) -> tuple[ProcessFacts, ...]:
    """All processes."""
    return tuple(_process(endpoint) for endpoint in endpoints)


def workers(endpoints: Sequence[Endpoint]) -> tuple[WorkerFacts, ...]:
    """The intercept workers that answer."""
    return tuple(_worker(address, samples) for address, samples in _of_role(endpoints, WORKER))


def trainers(endpoints: Sequence[Endpoint], now_s: float) -> tuple[TrainerFacts, ...]:
    """The trainers that answer."""
    found = _of_role(endpoints, TRAINER)
    return tuple(_trainer(address, samples, now_s) for address, samples in found)


def _of_role(endpoints: Sequence[Endpoint], role: str) -> list[tuple[str, Samples]]:
    return [
        (each.address, each.samples)
        for each in endpoints
        if each.samples is not None and _role(each.samples) == role
    ]


def _role(samples: Samples) -> str:
    return samples.labels("weir_build_info").get("role", "")


def _process(endpoint: Endpoint) -> ProcessFacts:
    samples = endpoint.samples
    if samples is None or not _role(samples):
        return ProcessFacts(endpoint.address)
    conditions = samples.by("weir_ready_condition", "condition")
    return ProcessFacts(
        endpoint.address,
        _role(samples),
        samples.labels("weir_build_info").get("version", ""),
        tuple(sorted(name for name, met in conditions.items() if not met)),
    )


def _worker(address: str, samples: Samples) -> WorkerFacts:
    return WorkerFacts(
        address=address,
        model=samples.labels("weir_model_info").get("version", ""),
        requests=samples.total("weir_verdicts_total"),
        due=samples.total("weir_intercepts_due_total"),
        blocked=samples.total("weir_verdicts_total", verdict="block"),
        achieved=samples.value("weir_rate_achieved") or 0.0,
        target=samples.value("weir_rate_target") or 0.0,
        fail_open=bool(samples.value("weir_fail_open")),
        shared=bool(samples.value("weir_fleet_shared")),
    )


def _trainer(address: str, samples: Samples, now_s: float) -> TrainerFacts:
    def since(name: str) -> float | None:
        at_s = samples.value(name)
        return now_s - at_s if at_s else None

    return TrainerFacts(
        address=address,
        rows=samples.value("weir_trainer_store_rows") or 0.0,
        bytes=samples.value("weir_trainer_store_bytes") or 0.0,
        lag=samples.by("weir_trainer_lag", "topic"),
        examples=samples.total("weir_trainer_examples_total", fate="accepted"),
        stalled_s=since("weir_trainer_last_progress_timestamp_seconds"),
        watermark_s=since("weir_trainer_watermark_timestamp_seconds"),
        labels=_labels(samples),
        rebuild=_rebuild(samples, now_s),
        psi=samples.by("weir_drift_psi", "feature"),
        drift_alarm=bool(samples.value("weir_drift_alarm")),
        measured_s=since("weir_quality_timestamp_seconds"),
    )


def _labels(samples: Samples) -> dict[str, LabelFacts]:
    outcomes = samples.by("weir_trainer_positives_total", "task")
    known = samples.by("weir_trainer_known_share", "task")
    return {
        task: LabelFacts(
            outcomes=outcomes.get(task, 0.0),
            known=known.get(task),
            open=samples.value("weir_trainer_open_examples", task=task) or 0.0,
            due=samples.value("weir_trainer_due_examples", task=task) or 0.0,
            calibration=samples.value("weir_quality_calibration", task=task),
            error=samples.value("weir_quality_error", task=task),
            auc=samples.value("weir_quality_auc", task=task),
            learned_from=bool(samples.value("weir_quality_learned_from", task=task)),
        )
        for task in dict.fromkeys([*known, *outcomes])
    }


def _rebuild(samples: Samples, now_s: float) -> RebuildFacts:
    last = samples.labels("weir_trainer_last_rebuild_info")
    began_s = samples.value("weir_trainer_rebuild_started_timestamp_seconds") or now_s
    ended_s = samples.value("weir_trainer_last_rebuild_timestamp_seconds")
    next_s = samples.value("weir_trainer_next_rebuild_timestamp_seconds")
    gates = samples.failed("weir_trainer_gate_passed")
    return RebuildFacts(
        running_s=now_s - began_s if samples.value("weir_trainer_rebuilding") else None,
        ended_s=now_s - ended_s if ended_s else None,
        took_s=samples.value("weir_trainer_last_rebuild_duration_seconds") or 0.0,
        reason=last.get("reason", ""),
        result=last.get("result", ""),
        version=last.get("version", ""),
        refused_in_row=int(samples.value("weir_trainer_refused_in_row") or 0),
        failed_gates=tuple(
            " ".join(filter(None, (gate.get("gate", ""), gate.get("task", "")))) for gate in gates
        ),
        next_s=next_s - now_s if next_s else None,
        waiting=int(samples.value("weir_trainer_waiting_examples") or 0),
    )
