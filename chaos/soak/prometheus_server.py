"""A real Prometheus on the loopback with the alerts that are deployed, for tests."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from stream.brokers.children import free_port

ALERTS: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"


def available() -> bool:
    """Whether one is installed."""
    return shutil.which("prometheus") is not None


class Prometheus:
    """A server with the alerts that are deployed, scraping processes of this machine."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1"

    def query(self, text: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        return list(self._get("/query", query=text)["result"])

    def fired(self, seconds: float) -> set[str]:
        """Alerts that fired within the last so many seconds."""
        query = f'max_over_time(ALERTS{{alertstate="firing"}}[{seconds:.0f}s])'
        return {each["metric"]["alertname"] for each in self.query(query)}

    def rules(self) -> list[dict[str, Any]]:
        """The rules as they were loaded and last evaluated."""
        return [rule for group in self._get("/rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        url = f"{self._api}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())["data"]
            return found


@contextmanager
def prometheus(ports: Mapping[str, int], folder: Path, *, every_s: int = 1) -> Iterator[Prometheus]:
    """Run it until the end of the block.

    Args:
        ports: Ports to scrape, by job.
        folder: Folder of configuration and data; must not exist.
        every_s: Interval of scrapes and rule evaluations.
    """
    config = {
        "global": {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for name, port in ports.items()
        ],
    }
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as run,
    ):
        try:
            yield Prometheus(port)
        finally:
            run.terminate()
