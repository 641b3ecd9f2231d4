"""A candidate that was held is tried again by the daemon once newer labels are final."""

from functools import partial
from pathlib import Path

import pytest

from models.artifact import load_artifact
from models.settings import Settings
from stream.kafka.topics import ensure_topics
from tests.trainer.service.test_daemon import (
    LENIENT,
    ROWS,
    announcements,
    publish,
    running,
    sample,
    traffic,
    until,
)
from trainer.gates.ledger import Ledger
from trainer.gates.report import GateReport, Verdict

NEWER = ROWS * 7 // 10
"""Too few requests for another rebuild."""


@pytest.mark.broker
@pytest.mark.slow
async def test_newer_requests_let_a_held_candidate_in(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Deals are too few at first; it is announced without training, after a second trial."""
    caplog.set_level("INFO", logger="trainer")
    limits = LENIENT.model_copy(update={"min_positives": 100, "patience": 99})
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, traffic(0, ROWS))
    async with running(settings, limits) as daemon:
        count = partial(sample, daemon, "weir_trainer_rebuilds_total")
        await until(lambda: count(result="held") == 1)
        assert "rows of the rarer class, at least 100 are needed" in caplog.text
        assert await announcements(settings) == []
        await publish(settings, traffic(ROWS, NEWER))
        await until(lambda: count(result="published") == 1)
        started = partial(sample, daemon, "weir_trainer_rebuilds_started_total")
        assert (started(reason="examples"), started(reason="retest")) == (1, 1)
        assert count(result="failed") == 0
    (made,) = await announcements(settings)
    assert "newer labels are final" in made.reason
    artifact = load_artifact(made.url, made.manifest_sha256)
    report = GateReport.model_validate_json((Path(made.url) / "gates.json").read_bytes())
    assert (report.verdict, report.trial) == (Verdict.PASS, 2)
    assert report.candidate == artifact.manifest.version
    assert report.promised["deal"].positives >= 100
    trials = Ledger(settings.model.registry, report.serving_sha256).trials
    assert len({trial.candidate for trial in trials}) == 1
    assert len({trial.rows for trial in trials}) == 2
    (folder,) = Path(settings.trainer.store).glob("rebuilds/*")
    assert not (folder / "candidate").exists()
    assert not list(Path(settings.trainer.store).glob("scratch/rebuild-*"))
