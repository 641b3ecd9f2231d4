"""The subcommands `publish` and `simulate`."""

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from models.settings import Settings
from trainer.cli.traffic import register
from trainer.simulation.markets import MarketError


def weir(settings: Settings, *arguments: str) -> Result:
    app = typer.Typer()
    register(app)

    @app.callback()
    def main(ctx: typer.Context) -> None:
        ctx.obj = settings

    return CliRunner().invoke(app, arguments)


def summary(result: Result) -> dict[str, float]:
    assert result.exit_code == 0, result.output
    last: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return last


def test_simulate_writes_the_requests_and_the_examples(tmp_path: Path) -> None:
    """Both files tell of the same requests; the last line sums up."""
    requests, examples = tmp_path / "r.jsonl", tmp_path / "e.parquet"
    command = ["simulate", "--requests", "200", "--start", "50", "--seed", "4"]
    done = weir(Settings(), *command, "--jsonl", str(requests), "--examples", str(examples))
    assert summary(done)["requests"] == 200
    ids = [json.loads(line)["id"] for line in requests.read_text().splitlines()]
    assert pl.read_parquet(examples)["request_id"].to_list() == ids


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["simulate"], "--examples FILE"),
        (["publish", "simulated"], "--requests N"),
        (["publish", "jd", "nowhere"], "flattenRequest_clean.csv.gz is missing"),
        (["publish", "jsonl", "none.jsonl"], "no such file"),
    ],
)
async def test_a_command_that_cannot_run_says_why(
    settings: Settings, arguments: list[str], fix: str
) -> None:
    """The message names what is missing."""
    done = await asyncio.to_thread(weir, settings, *arguments)
    assert done.exit_code != 0
    assert fix in " ".join(done.output.replace("│", " ").split())


def test_simulate_with_arrivals_brings_new_publishers(tmp_path: Path) -> None:
    """The same requests under the same ids, some of them from sources that were not there."""
    publishers = {}
    for shape in ("", "frequent"):
        file = tmp_path / f"{shape or 'fixed'}.jsonl"
        options = ["--requests", "3000", "--seed", "2", "--start", "100000", "--jsonl", str(file)]
        result = weir(Settings(), "simulate", *options, "--arrivals", shape)
        assert result.exit_code == 0, result.output
        docs = [json.loads(line) for line in file.read_bytes().splitlines()]
        owners = [doc.get("app") or doc.get("site") or doc["dooh"] for doc in docs]
        publishers[shape] = [owner["publisher"]["id"] for owner in owners]
    new = set(publishers["frequent"]) - set(publishers[""])
    assert max(int(name[1:]) for name in publishers[""]) < 400
    assert sum(int(name[1:]) >= 400 for name in new) >= 2
    refused = weir(Settings(), "simulate", "--jsonl", str(tmp_path / "x"), "--arrivals", "some")
    assert refused.exit_code != 0
    assert "frequent" in refused.output


def test_simulate_takes_a_family_of_markets(tmp_path: Path) -> None:
    """Another family sends other requests; an unknown one is refused with the known ones."""
    found = {}
    for market in ("standard", "forest"):
        file = tmp_path / f"{market}.jsonl"
        options = ["--requests", "50", "--jsonl", str(file), "--market", market]
        result = weir(Settings(), "simulate", *options)
        assert result.exit_code == 0, result.output
        found[market] = set(file.read_bytes().splitlines())
    assert not found["standard"] & found["forest"]
    refused = weir(Settings(), "simulate", "--jsonl", str(tmp_path / "x"), "--market", "woods")
    assert isinstance(refused.exception, MarketError)
    assert "clusters" in str(refused.exception)


async def test_publish_simulated_sums_up(settings: Settings) -> None:
    """All requests are on the topic when the command ends; outcomes can be left out."""
    command = ["publish", "simulated", "--requests", "3000", "--rate", "0", "--no-outcomes"]
    found = summary(await asyncio.to_thread(weir, settings, *command))
    assert found["published"] == 3000
    assert "outcomes" not in found


async def test_publish_jsonl_publishes_broken_lines_too(settings: Settings, tmp_path: Path) -> None:
    """Every line of the file becomes a record."""
    path = tmp_path / "some.jsonl"
    path.write_text('{"id": "a", "imp": [{}]}\n{broken\n')
    found = summary(await asyncio.to_thread(weir, settings, "publish", "jsonl", str(path)))
    assert found["published"] == 2
