"""The `weir` command as a child process, and what it prints."""

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "worker": ["worker"],
    "feedback": ["worker", "--role", "feedback"],
    "trainer": ["trainer"],
    "topics": ["topics"],
    "verify": ["verify"],
    "replay": ["replay", "bid-requests"],
    "explain": ["explain", "r1"],
    "publish": ["publish", "simulated", "--requests", "10"],
    "rate": ["rate", "get"],
    "policy": ["policy", "get"],
    "model": ["model", "list"],
}
ENDS_S = 60.0


def weir(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WEIR_")}
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[3]), clean.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**clean, "PYTHONPATH": path, **(environment or {})},
        start_new_session=True,
    )


def output_of(process: subprocess.Popen[str], status: int = 2) -> str:
    """All that it printed, once it has ended."""
    try:
        output, _ = process.communicate(timeout=ENDS_S)
    finally:
        process.kill()
    assert "Traceback" not in output
    assert process.returncode == status, output
    return output


def one_sentence(output: str) -> str:
    assert output.count("\n") == 1, output
    assert output.startswith("weir: ")
    return output
