"""Scoring on a Ray cluster: the same files, errors in a sentence, ports on loopback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import psutil
import pytest

from models.artifact.registry import Registry
from models.settings import Settings
from stream.replay.on_ray import LOCAL, OnRay, connected
from stream.replay.records import LinesBlock, LinesRange, TableRows
from stream.replay.replay import ReplayOptions, run_replay
from stream.replay.scoring import PieceScorer, ScoringPlan
from stream.replay.stages import ScoringStageError
from tests.tiny_artifact import TASKS, Make

DATA = b"".join(
    orjson.dumps(
        {"value": {"id": f"r{i}", "imp": [{}], "site": {"id": f"s{i % 41}"}}, "timestamp": 1000 + i}
        if i % 50
        else {"value": "{broken"}
    )
    + b"\n"
    for i in range(900)
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local cluster with two processes; stages of this process use it."""
    with connected(LOCAL, 2):
        yield


def tiny(artifact: Path) -> Settings:
    tasks = [task.model_dump() for task in TASKS]
    policy = {"rate": 0.4, "weights": {"click": 1.0, "online": 3.0}, "explore": 0.05}
    return Settings(tasks=tasks, policy=policy).override({"model.artifact": str(artifact)})


def plan(artifact: Path) -> ScoringPlan:
    files = Registry.of(Settings().model).fetch_configured(str(artifact))
    return ScoringPlan((files,), 1, 512, 100_000, 100)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.*"))
        if path.is_file()
    }


@pytest.mark.slow
async def test_the_files_are_those_of_one_process(
    cluster: None, make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, for a file that is cut by ranges, also if it is given by a relative path."""
    monkeypatch.chdir(tmp_path)
    Path("r.jsonl").write_bytes(DATA)
    settings = tiny(make_artifact())
    for name, ray, processes in (("here", None, 1), ("ray", LOCAL, 2)):
        options = ReplayOptions(
            "r.jsonl", tmp_path / name, processes=processes, ray=ray,
            piece_bytes=9_000, rows_per_part=300,
        )  # fmt: skip
        summary = await run_replay(settings, options)
        assert (summary["decided"], summary["rejected"]) == (882, 18)
    found = content(tmp_path / "ray")
    assert len(found) == 3 + 3 + 2
    assert found == content(tmp_path / "here")


@pytest.mark.slow
async def test_errors_of_a_node_are_one_sentence(
    cluster: None, make_artifact: Make, tmp_path: Path
) -> None:
    """Files that are not there are named with the fix; what scores is not lost with its process."""
    made = plan(make_artifact())
    with OnRay(made, LOCAL, 1) as stage:
        for piece in (LinesRange(str(tmp_path / "no.jsonl"), 0, 9), TableRows("no.parquet", 0, 9)):
            with pytest.raises(
                ScoringStageError, match=r"node 127\.0\.0\.1 .*no\.(jsonl|parquet).* URL that each"
            ):
                await stage.submit(piece, None)
        here = PieceScorer(made).score(LinesBlock(DATA), None).frame
        assert (await stage.submit(LinesBlock(DATA), None)).frame.equals(here)
        for process in scoring_processes():
            os.kill(process.pid, signal.SIGKILL)
        assert (await stage.submit(LinesBlock(DATA), None)).frame.equals(here)


@pytest.mark.slow
def test_a_local_cluster_listens_on_loopback(cluster: None) -> None:
    """All ports of all its processes."""
    addresses = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            addresses |= {
                each.laddr.ip
                for each in process.net_connections("inet")
                if each.status == psutil.CONN_LISTEN
            }
    assert addresses
    assert {address.removeprefix("::ffff:") for address in addresses} <= {"127.0.0.1", "::1"}


def scoring_processes() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    found = [each for each in children if "_Actor" in "".join(each.cmdline())]
    assert found
    return found


def test_without_ray_the_error_names_the_extra(
    make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one line with the command to give."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ScoringStageError, match=r"pip install 'weir\[ray\]'"):
        OnRay(plan(make_artifact()), "auto", 1)


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port", "h:1²", "ray://"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """With what an address looks like."""
    with pytest.raises(ScoringStageError, match="give HOST:PORT or ray:"), connected(address, 1):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", f"{'x' * 99}.y:1"])
def test_where_no_cluster_answers_the_error_says_so_at_once(address: str) -> None:
    """With the fix."""
    with pytest.raises(ScoringStageError, match="no Ray cluster answers"), connected(address, 1):
        pass


def test_a_replay_in_processes_does_not_import_ray(make_artifact: Make, tmp_path: Path) -> None:
    """Neither does the command line."""
    (tmp_path / "r.jsonl").write_bytes(DATA)
    config = tmp_path / "weir.toml"
    code = (
        "import sys\n"
        "from stream.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print('ray' in sys.modules, file=sys.stderr)\n"
    )
    config.write_text(
        f'[model]\nartifact = "{make_artifact()}"\n[policy]\nweights = {{click = 1, online = 1}}\n'
        + "".join(
            f'[[tasks]]\nname = "{task.name}"\nwindow_s = {task.window_s}\n'
            f'population = "{task.population}"\n'
            for task in TASKS
        )
    )
    found = subprocess.run(
        [sys.executable, "-c", code, "--config", str(config), "replay", "r.jsonl", "--out", "out"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stderr.endswith("False\n")
