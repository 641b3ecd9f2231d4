"""The commands of deploy/README.md work."""

import re
import shlex

from pydantic import BaseModel

from models.settings import Settings
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


def test_rollback_commands_are_accepted() -> None:
    """The commands that the README runs in containers are commands of `weir`."""
    typed = re.findall(r"compose run --rm \w+ (model [^`\n]*)", README)
    in_kubernetes = r"kubectl exec deploy/weir-worker -- weir (?:--config \S+ )?(model [^`\n]*)"
    typed += re.findall(in_kubernetes, README)
    parsed = {
        " ".join(str(context.info_name) for context in parse(tuple(shlex.split(words))))
        for words in typed
    }
    assert len(typed) == 3
    assert parsed == {"weir model rollback", "weir model gc"}
