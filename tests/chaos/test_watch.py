"""Progress of a group, observed from outside."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from chaos.watch import StalledError, Watcher, until
from models.settings import Settings

pytestmark = pytest.mark.broker


async def test_progress_is_what_the_group_commits(settings: Settings) -> None:
    """Progress of some and of all partitions, a commit that went back, and a stall are detected."""
    partitions = [
        TopicPartition(settings.topics.requests, number)
        for number in range(settings.kafka.partitions)
    ]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap,
        group_id=settings.kafka.group,
        enable_auto_commit=False,
    )
    async with consumer, Watcher(settings) as watcher:
        consumer.assign(partitions)
        since = dict(watcher.committed)
        await consumer.commit({partitions[0]: 5})
        await watcher.progress(since, every=False, within_s=10)
        with pytest.raises(StalledError, match="0: 5"):
            await watcher.progress(since, every=True, within_s=0.5)
        await consumer.commit(dict.fromkeys(partitions, 6))
        await watcher.progress(since, every=True, within_s=10)
        assert watcher.rewound == []
        await consumer.commit({partitions[0]: 4})
        await until(lambda: bool(watcher.rewound), lambda: "a commit that went back", 10)
    assert "[0] from 6 to 4" in watcher.rewound
    assert watcher.longest_s > 0.4
