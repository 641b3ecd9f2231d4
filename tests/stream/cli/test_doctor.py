"""`weir doctor` as a whole process."""

from pathlib import Path

import orjson
import pytest

from models.settings import Settings
from tests.stream.cli.process import output_of, weir


@pytest.mark.broker
def test_the_doctor_on_the_embedded_broker(settings: Settings, tmp_path: Path) -> None:
    """One line per finding, or JSON; status 1 where something fails."""
    healthy = output_of(weir(tmp_path, "doctor", environment=settings.environment()), status=0)
    lines = healthy.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    assert {"connection", "topics", "artifact", "clock"} <= {line.split()[1] for line in lines}
    sick = settings.override({"model.artifact": "nowhere"})
    output = output_of(weir(tmp_path, "doctor", "--json", environment=sick.environment()), status=1)
    (found,) = [row for row in orjson.loads(output) if row["level"] == "fail"]
    assert found["check"] == "artifact"
    assert found["fix"]
