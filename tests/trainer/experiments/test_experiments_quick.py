import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from stream.cli.main import build_app
from trainer.experiments.data import SETTINGS
from trainer.experiments.report.report import Report
from trainer.simulation.markets import MARKETS
from trainer.uncertainty import METHODS

pytestmark = pytest.mark.timeout(900)
"""The fixture's run takes two minutes on a machine that does nothing else."""
TASKS = ("click", "online", "cart", "deal")
FIGURES = ("2a", "2b", "2c", "2c_fixed", "2d", "3", "4", "4_fixed", "5")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one quick run with two seeds, through the command line."""
    folder = tmp_path_factory.mktemp("experiments")
    result = CliRunner().invoke(build_app(), ["experiments", "--quick", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def report(out: Path) -> Report:
    return Report.model_validate_json((out / "report.json").read_text())


@pytest.mark.slow
def test_every_key_is_there(report: Report) -> None:
    """All methods in all settings, all tables, figures, bars and claims, with intervals."""
    assert set(report.passing) == set(SETTINGS)
    for methods in report.passing.values():
        expected = {*METHODS, "blend", "auto", "bernoulli", "base_rate", "random", "oracle"}
        assert expected <= set(methods)
        assert all(each.deals_vs_score_points.low is not None for each in methods.values())
    for name in (*METHODS, "blend", "student", "student_confirmed", "bernoulli", "oracle_error"):
        assert set(report.error_finding[name]) == set(TASKS)
        assert report.error_finding[name]["click"].within_bins.gain is not None
    assert set(report.error_finding_settings) == {*SETTINGS, *MARKETS}
    assert set(report.table_1) == {
        *("mlp", "transformer", "ple-mlp", "ple-mlp-swag", "ple-transformer", "daum"),
    }
    assert set(report.table_2) == {"ple-mlp", "ple-transformer"}
    assert all(getattr(report, f"figure_{name}") for name in FIGURES)
    assert set(report.student) == set(TASKS)
    assert report.speed.student_us is not None
    assert report.speed.student_us.mean > 0
    assert {"ple_mlp", "ple_transformer"} == set(report.speed.teacher_over_student)
    assert set(report.sensitivity) == {"snapshots", "samples", "scale"}
    assert {"score", "explore", "unselected"} <= set(report.rounds)
    assert report.correlation
    assert report.sparsity
    assert all(bar.value is not None for bar in report.bars)
    assert all(check.value is not None for claim in report.claims for check in claim.evidence)


@pytest.mark.slow
def test_who_knows_the_truth_finds_errors_and_passes_deals(report: Report) -> None:
    """The oracles beat chance whatever the models are worth: the measures measure."""
    for setting in SETTINGS:
        oracle, random = (report.passing[setting][name] for name in ("oracle", "random"))
        for seed, value in oracle.deals_vs_score_points.values.items():
            assert value > random.deals_vs_score_points.values[seed]
    for task in TASKS:
        oracle, random = (report.error_finding[name][task] for name in ("oracle_error", "random"))
        assert oracle.within_bins.value is not None
        assert random.within_bins.value is not None
        assert oracle.within_bins.value.mean == pytest.approx(1.0)
        assert abs(random.within_bins.value.mean) < 0.2
        assert oracle.worst_tenth_auroc.value is not None
        assert oracle.worst_tenth_auroc.value.mean == pytest.approx(1.0)


@pytest.mark.slow
def test_a_second_call_measures_nothing_again(out: Path) -> None:
    """With all units there, only the report is written anew, and it says the same."""
    before = json.loads((out / "report.json").read_text())
    raw = (out / "raw.jsonl").read_bytes()
    result = CliRunner().invoke(build_app(), ["experiments", "--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    after = json.loads((out / "report.json").read_text())
    for each in (before, after):
        each["about"].pop("created")
    assert (out / "raw.jsonl").read_bytes() == raw
    assert after == before


@pytest.mark.slow
def test_the_pages_show_what_the_report_says(out: Path, report: Report) -> None:
    """One HTML file without references, a plot per figure, and every claim in both pages."""
    html, markdown = ((out / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert html.count("<svg") >= len(FIGURES) + len(TASKS)
    assert not re.search(r"(src|href)=", html)
    pictures = re.findall(r"!\[.*?\]\((plots/\w+\.svg)\)", markdown)
    assert len(pictures) == html.count("<svg")
    for picture in pictures:
        assert ET.parse(out / picture).getroot().tag.endswith("svg")
    for claim in report.claims:
        assert f"| {claim.name} |" in markdown
        assert f">{claim.name}</td>" in html


@pytest.mark.slow
def test_a_small_store_from_elsewhere_is_enough(tmp_path: Path) -> None:
    """Fewer rows than the plan would have: sweeps and rounds take what is there, truth included."""
    store, out = tmp_path / "store.parquet", tmp_path / "out"
    simulate = ["simulate", "--requests", "1200", "--examples", str(store)]
    assert CliRunner().invoke(build_app(), simulate).exit_code == 0
    command = ["experiments", "--data", str(store), "--quick", "--seeds", "1", "--out", str(out)]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    report = Report.model_validate_json((out / "report.json").read_text())
    assert report.about.source == str(store)
    assert set(report.rounds) == {"score", "explore", "swag", "confirmed", "unselected"}
    assert report.error_finding["oracle_error"]["click"].within_bins.value.mean > 0.9
    assert not report.correlation
