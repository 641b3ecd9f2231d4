"""The short version of `make hostile`: all roles on the embedded broker, every topic attacked."""

from pathlib import Path

import pytest

from chaos.hostile.__main__ import ROLES, attack_settings, sound_requests
from chaos.hostile.run import Attack
from chaos.hostile.strategies import bid_requests, draw_hostile
from chaos.hostile.values import draw_many
from models.settings import Settings, TopicSettings
from stream.brokers.embedded import EmbeddedBroker

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]
ARTIFACT = Path(__file__).parents[2] / "models" / "artifact" / "pretrained" / "openrtb"
GOOD, HOSTILE, SEED = 600, 120, 7


async def test_no_record_stops_a_role(tmp_path: Path) -> None:
    """Garbage on every topic: nothing ends, nothing good is lost, all refusals are counted."""
    sound = sound_requests(GOOD, SEED)
    hostile = draw_hostile(TopicSettings(), sound, HOSTILE, SEED)
    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings: Settings = attack_settings(broker, tmp_path)
        attack = Attack(settings, ARTIFACT, sound, hostile, SEED, tmp_path, ROLES)
        report = await attack.play()
    assert report.faults == []
    assert report.account is not None
    assert report.account.requests == report.written[settings.topics.requests] > GOOD


def test_records_that_are_drawn_differ_and_come_again() -> None:
    """The same number gives the same records, and no two of them are alike."""
    kind = bid_requests(sound_requests(5, SEED))
    drawn = draw_many(kind, 150, 3)
    assert len({repr(record) for record in drawn}) == 150
    assert draw_many(kind, 150, 3) == drawn
    assert draw_many(kind, 150, 4) != drawn
