"""An explanation as JSON; figures have nine digits, which determine a float32."""

import math
from dataclasses import asdict
from typing import Any

from stream.explain.attribution import AGREEMENT
from stream.explain.explanation import Explanation


def as_json(found: Explanation) -> dict[str, Any]:
    """What `weir explain --json` prints; figures that there are none of are null."""
    record, decision = found.found.record, found.found.decision
    return {
        "request_id": found.request_id,
        "verdict": found.verdict,
        "reproduced": found.reproduced,
        "missing": list(found.missing),
        "found": {
            "kind": found.found.kind.value,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp if abs(record.timestamp) < 2**63 else None,
            "source_offset": found.found.source_offset,
        },
        "log": None
        if decision is None
        else {
            "model": decision.model,
            "e": decision.e,
            "threshold": decision.threshold,
            "reason": decision.reason.label,
            "propensity": decision.propensity,
        },
        "dead_letter": None if found.found.letter is None else _letter(found),
        "checks": [
            {key: _plain(value) for key, value in asdict(check).items()} for check in found.checks
        ],
        **_computed(found),
        "history": None if found.replayed is None else _figures(asdict(found.replayed)),
        "features": [asdict(value) for value in found.values],
        "attribution": _attribution(found),
        "training": None if found.training is None else asdict(found.training),
        "known": found.known,
    }


def _letter(found: Explanation) -> dict[str, Any]:
    letter = asdict(found.found.letter)  # type: ignore[arg-type]
    return {**letter, "code": letter["code"].value}


def _computed(found: Explanation) -> dict[str, Any]:
    scored, used = found.scored, found.used
    if scored is None or used is None:
        return {"model": None, "tasks": {}, "e": None, "scenario": None, "settings": None}
    return {
        "model": {"version": used.model.version, "named_by_log": used.named},
        "tasks": {
            name: {
                "score": _plain(float(scored.scores_T[column])),
                "uncertainty": _plain(float(scored.uncertainties_T[column])),
                "t": _plain(float(scored.t_T[column])),
            }
            for column, name in enumerate(found.tasks.names)
        },
        "e": _plain(float(scored.e)),
        "scenario": scored.scenario,
        "draw": scored.draw,
        "settings": scored.settings.model_dump(mode="json"),
        "control": {"applied": scored.changes, "reproduce_e": list(scored.revisions)},
    }


def _attribution(found: Explanation) -> dict[str, Any] | None:
    made = found.attribution
    if made is None:
        return None
    outputs = {}
    for column, name in enumerate(found.outputs):
        rho = made.agreement(column)
        outputs[name] = {
            "value": _plain(made.value_M[column]),
            "baseline": _plain(made.baseline_M[column]),
            "residual": _plain(made.residual(column)),
            "rank_correlation": rho,
            "agree": None if rho is None else rho >= AGREEMENT,
            "features": [
                {
                    "name": made.names[player],
                    "occlusion": _plain(made.occlusion_AM[player, column]),
                    "path": _plain(made.path_AM[player, column]),
                    "standard_error": _plain(made.error_AM[player, column]),
                }
                for player in made.order(column)
            ],
        }
    return {"orders": made.orders, "outputs": outputs}


def _figures(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    """A figure with nine digits, as many as float32 holds; None for one that is not finite."""
    if isinstance(value, bool | str | int) or value is None:
        return value
    number = float(value)
    return float(f"{number:.9g}") if math.isfinite(number) else None
