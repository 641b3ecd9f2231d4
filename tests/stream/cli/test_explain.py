"""`weir explain` as a command: a screen, JSON, and one line with status 2 for what it cannot do."""

from pathlib import Path

import orjson
import pytest

from tests.stream.cli.process import output_of, weir
from tests.tiny_artifact import TASKS, Make

REQUESTS = b"\n".join(
    orjson.dumps({"id": f"r{n}", "imp": [{}], "site": {"id": f"s{n % 7}"}}) for n in range(30)
)


def config(folder: Path, artifact: Path) -> None:
    tasks = "\n".join(
        f'[[tasks]]\nname = "{t.name}"\npopulation = "{t.population}"\nwindow_s = {t.window_s}'
        for t in TASKS
    )
    policy = '[policy]\nweights = {click = 1.0}\nuncertainty_source = "own"\n'
    (folder / "weir.toml").write_text(f'{policy}[model]\nartifact = "{artifact}"\n{tasks}\n')
    (folder / "requests.jsonl").write_bytes(REQUESTS)


def test_a_request_of_a_file_is_explained(tmp_path: Path, make_artifact: Make) -> None:
    """As JSON, with every figure; without a broker."""
    config(tmp_path, make_artifact())
    text = output_of(weir(tmp_path, "explain", "r20", "requests.jsonl", "--json"), status=0)
    found = orjson.loads(text[text.index("{") :])
    assert found["verdict"] in {"pass", "block"}
    assert found["model"] == {"version": "v1", "named_by_log": False}
    assert found["history"]["requests"] == 20
    assert set(found["attribution"]["outputs"]) >= {"e", "score_click", "uncertainty_online"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nobody", "requests.jsonl"], "nobody: no such request among 30 records"),
        (["", "requests.jsonl"], "REQUEST_ID: empty"),
        (["r1", "missing.jsonl"], "missing.jsonl: no such file"),
        (
            ["r1", "requests.jsonl", "--store", "nowhere"],
            "nowhere: there is no such file or folder",
        ),
    ],
)
def test_what_cannot_be_explained_is_one_line_and_status_2(
    tmp_path: Path, make_artifact: Make, arguments: list[str], line: str
) -> None:
    """The line says what was looked for, and where."""
    config(tmp_path, make_artifact())
    text = output_of(weir(tmp_path, "explain", *arguments), status=2)
    assert f"weir: {line}" in text
    assert "Traceback" not in text
