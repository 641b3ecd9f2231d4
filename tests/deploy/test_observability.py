"""Prometheus and Grafana ask for what Weir exports, where it exports it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tests.deploy import exported
from tests.deploy.deployment import ALERTS, DEPLOY, METRICS_PORT, compose_file

BOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "weir.json").read_text())
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
PROVISIONING = DEPLOY / "grafana" / "provisioning"
#: Labels that Prometheus adds to what it scrapes.
SCRAPE_LABELS = {"instance", "job"}

Exported = dict[str, dict[str, set[str]]]


def samples(registry: CollectorRegistry) -> Exported:
    """Sample name -> label -> the values that it has."""
    found: Exported = {}
    for family in registry.collect():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.fixture(scope="module")
def everything() -> Exported:
    """What all roles export once everything has happened to them."""
    found: Exported = {}
    roles = (exported.worker, exported.feedback, exported.trainer, exported.incidents)
    for registry in (role() for role in roles):
        for name, labels in samples(registry).items():
            for label, values in labels.items():
                found.setdefault(name, {}).setdefault(label, set()).update(values)
            found.setdefault(name, {})
    return found


def board_queries() -> list[str]:
    """Every query of the board, its variables' included."""
    variables = [each["query"]["query"] for each in BOARD["templating"]["list"]]
    targets = [t["expr"] for panel in BOARD["panels"] for t in panel.get("targets", [])]
    return variables + targets


def alert_queries() -> list[str]:
    """Every alert's expression."""
    return [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


def faults(query: str, exported: Exported) -> list[str]:
    """Metrics, labels and label values of a query that nothing exports."""
    found, known = [], set(SCRAPE_LABELS)
    for name, selector in re.findall(r"\b((?:weir|process)_\w+)(\{[^}]*\})?", query):
        if name not in exported:
            found.append(name)
            continue
        labels = exported[name]
        known |= set(labels)
        for label, sign, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', selector):
            if label not in labels.keys() | SCRAPE_LABELS:
                found.append(f"{name}{{{label}}}")
            elif sign == "=" and not value.startswith("$") and value not in labels[label]:
                found.append(f'{name}{{{label}="{value}"}}')
    by = ",".join(re.findall(r"\bby \(([^)]*)\)", query))
    asked = {*re.findall(r"\w+", by), *re.findall(r"label_values\(\w+, (\w+)\)", query)}
    return found + sorted(asked - known)


@pytest.mark.parametrize("query", [*board_queries(), *alert_queries()])
def test_query_asks_for_what_is_exported(query: str, everything: Exported) -> None:
    """Metrics, labels and label values of a query are ones that some role exports."""
    assert "weir_" in query
    assert faults(query, everything) == []


@pytest.mark.parametrize(
    "query",
    [
        "rate(weir_request_total[5m])",
        'sum by (task) (weir_verdicts_total{verdict="block"})',
        'weir_verdicts_total{verdict="blocked"}',
        'weir_verdicts_total{task="click"}',
        "label_values(weir_rate_target, task)",
    ],
)
def test_wrong_query_is_seen(query: str, everything: Exported) -> None:
    """The check above sees a wrong metric, label, value, grouping and variable."""
    assert len(faults(query, everything)) == 1


def test_every_metric_is_on_the_board(everything: Exported) -> None:
    """Every metric that Weir exports is on the dashboard or in an alert."""
    families = {
        re.sub(r"_(total|bucket|count|sum|created)$", "", name)
        for name in everything
        if name.startswith("weir_")
    }
    asked = " ".join(board_queries())
    assert [name for name in sorted(families) if not re.search(rf"\b{name}(_|\b)", asked)] == []


def test_panels_are_distinct_and_do_not_overlap() -> None:
    """Panels have ids and titles of their own, and each cell of the page belongs to one."""
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (at["x"] + x, at["y"] + y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["w"])
        for y in range(at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_board_uses_the_provisioned_source() -> None:
    """Every panel, query and variable asks the data source that is provisioned."""
    provisioned = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    asked = [panel["datasource"] for panel in BOARD["panels"] if panel["type"] != "row"]
    asked += [each["datasource"] for each in BOARD["templating"]["list"]]
    asked += [t["datasource"] for panel in BOARD["panels"] for t in panel.get("targets", [])]
    assert {each["uid"] for each in asked} == {source["uid"]}


def mounts(service: str) -> dict[str, Path]:
    """Folder in a service's container -> folder of the repository."""
    pairs = (volume.split(":")[:2] for volume in compose_file()["services"][service]["volumes"])
    return {target: DEPLOY.parent / source for source, target in pairs if source.startswith("./")}


def test_grafana_finds_prometheus_and_the_board() -> None:
    """The provisioned address and folder are those of the compose services."""
    provisioned = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())
    assert provisioned["datasources"][0]["url"] == "http://prometheus:9090"
    services = compose_file()["services"]
    assert services["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "weir.yml").read_text())[
        "providers"
    ]
    folders = mounts("grafana")
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert (folders[provider["options"]["path"]] / Path(home).name).is_file()
    assert folders["/etc/grafana/provisioning"] == PROVISIONING


def test_prometheus_finds_its_files_and_every_worker() -> None:
    """The configuration is where the command says, and scrapes every service that has metrics."""
    prometheus = compose_file()["services"]["prometheus"]
    option = next(each for each in prometheus["command"] if each.startswith("--config.file="))
    config = Path(option.partition("=")[2])
    folder = mounts("prometheus")[str(config.parent)]
    assert (folder / config.name).is_file()
    assert all((folder / name).is_file() for name in PROMETHEUS["rule_files"])
    scraped = {
        (name, str(source["port"]))
        for job in PROMETHEUS["scrape_configs"]
        for source in job["dns_sd_configs"]
        for name in source["names"]
    }
    services = compose_file()["services"]
    serving = {
        name
        for name, each in services.items()
        if each.get("command", [""])[0] in {"worker", "trainer"}
    }
    assert scraped == {(name, METRICS_PORT) for name in serving}


def test_alerts_say_what_to_do() -> None:
    """Every alert has a severity, and a text for whoever is woken by it."""
    rules: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} == set(rule["annotations"])
