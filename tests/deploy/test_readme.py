"""The commands of deploy/README.md work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from pydantic import BaseModel

from models.artifact.manifest import sha256
from models.settings import KafkaSettings, Settings, TopicSettings
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.topics import ensure_topics
from stream.messages import ModelAnnouncement
from tests.deploy.deployment import ALERTS, DEPLOY, parse

README = (DEPLOY / "README.md").read_text()


def test_variables_are_settings() -> None:
    """Every WEIR_ variable of the README and of the override for own brokers is a setting."""
    text = README + (DEPLOY / "external-kafka.yml").read_text()
    variables = set(re.findall(r"\bWEIR_(\w+?)__(\w+)", text))
    assert ("KAFKA", "SASL_PASSWORD") in variables
    known = {
        (section.upper(), key.upper())
        for section, value in Settings()
        if isinstance(value, BaseModel)
        for key in type(value).model_fields
    }
    assert variables - known == set()


def test_traffic_command_is_accepted() -> None:
    """The command that the README runs in a worker's container is a command of `weir`."""
    (arguments,) = re.findall(r"compose run --rm worker (publish [^#\n]*)", README)
    names = [context.info_name for context in parse(tuple(arguments.split()))]
    assert names == ["weir", "publish", "simulated"]


def test_every_alert_is_explained() -> None:
    """The table of alerts is complete, and right about their severity."""
    rows = dict(re.findall(r"^\| (Weir[\w, ]+) \| (\w+) \|", README, re.MULTILINE))
    explained = {name: severity for names, severity in rows.items() for name in names.split(", ")}
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert explained == {rule["alert"]: rule["labels"]["severity"] for rule in rules}


@pytest.mark.broker
async def test_an_older_version_can_be_announced(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The script for going back announces the version that it is given, with its hash."""
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    manifest = b'{"version": "v1"}'
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "manifest.json").write_bytes(manifest)
    topics = TopicSettings(models="models-of-readme")
    await ensure_topics(KafkaSettings(bootstrap=broker.bootstrap), topics)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "WEIR_KAFKA__BOOTSTRAP": broker.bootstrap,
        "WEIR_TOPICS__MODELS": topics.models,
        "WEIR_MODEL__REGISTRY": str(tmp_path),
    }
    command = [sys.executable, "-", "v1"]
    subprocess.run(command, input=script.encode(), env=environment, cwd=tmp_path, check=True)
    consumer = AIOKafkaConsumer(
        topics.models, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest"
    )
    async with consumer:
        record = await consumer.getone()
    found = ModelAnnouncement.from_bytes(record.value)
    assert (record.key, record.partition) == (b"default", 0)
    assert (found.version, found.url) == ("v1", f"{tmp_path}/v1")
    assert found.manifest_sha256 == sha256(manifest)
