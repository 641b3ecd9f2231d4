"""`weir replay` with outcomes ends with the report, on the tables that it wrote itself."""

from pathlib import Path

import jsonschema
import numpy as np
import orjson
import pytest

from stream.messages import Outcome
from stream.messages.decision import Decision, Reason
from stream.report.schema import published
from tests.stream.cli.process import output_of, weir
from tests.tiny_artifact import TASKS, Make

START_MS, ROWS, EXPLORE = 1_700_000_000_000, 600, 0.5


@pytest.fixture
def folder(make_artifact: Make, tmp_path: Path) -> Path:
    """Requests that were logged with exploration, outcomes, and settings of two policies."""
    rng = np.random.default_rng(3)
    requests, outcomes = [], []
    for number in range(ROWS):
        passes = number % 2 == 0 or rng.random() < EXPLORE
        propensity = 1.0 if number % 2 == 0 else EXPLORE
        reason = Reason.EXPLORE if passes and number % 2 else Reason.SCORE
        scores = (0.6, 0.5) if number % 2 == 0 else (0.4, 0.5)
        name, header = Decision("v1", *scores, reason, propensity, number).to_header()
        value = {"id": f"r{number}", "imp": [{}], "site": {"id": "<i>s" if number % 3 else "t"}}
        requests.append(
            {"value": value, "timestamp": START_MS + number, "headers": [[name, header.decode()]]}
        )
        if passes and rng.random() < 0.5:
            outcomes.append(Outcome(f"r{number}", "click", START_MS + number + 5).to_bytes())
    (tmp_path / "requests.jsonl").write_bytes(b"\n".join(map(orjson.dumps, requests)))
    (tmp_path / "outcomes.jsonl").write_bytes(b"\n".join(outcomes))
    tasks = "".join(
        f'[[tasks]]\nname = "{task.name}"\npopulation = "{task.population}"\n'
        f"window_s = {task.window_s}\n"
        for task in TASKS
    )
    for name, rate in (("weir", 0.4), ("more", 0.8)):
        (tmp_path / f"{name}.toml").write_text(
            f'[model]\nartifact = "{make_artifact()}"\n[policy]\nrate = {rate}\n'
            f"[policy.weights]\nclick = 1.0\n{tasks}"
        )
    return tmp_path


def test_a_replay_with_outcomes_ends_with_its_report(folder: Path) -> None:
    """The verdict is printed, both files are written, and a condition decides the status."""
    late = str(START_MS + 30 * 86_400_000)
    arguments = ["replay", "requests.jsonl", "--outcomes", "outcomes.jsonl", "--as-of", late,
                 "--against", "more=more.toml", "--by", "site.id", "--out", "out"]  # fmt: skip
    output = output_of(weir(folder, *arguments, "--fail-if", "passed < -10"), status=1)
    assert "more against base: " in output
    assert "FAIL more: passed < -10" in output
    report = orjson.loads((folder / "out" / "report.json").read_bytes())
    jsonschema.validate(report, published())
    assert report["requests"] == ROWS
    assert report["log"]["explored"] > 0
    assert report["log"]["passed"] + report["log"]["blocked"] == ROWS
    (one,) = report["comparisons"]
    assert one["differ"] == one["newly_blocked"] > 0
    click = one["tasks"][0]
    assert click["supported"], click["why"]
    assert click["kept"]["high"] < 0
    assert [group["value"] for group in one["groups"][0]["groups"]] == ["<i>s", "t"]
    assert b"<i>s" not in (folder / "out" / "report.html").read_bytes()


def test_conditions_are_read_before_the_work(folder: Path) -> None:
    """A mistake in a condition does not cost a replay."""
    output = output_of(weir(folder, "replay", "requests.jsonl", "--fail-if", "deal"), status=2)
    assert "write FIGURE < NUMBER" in output
    assert not (folder / "var").exists()
