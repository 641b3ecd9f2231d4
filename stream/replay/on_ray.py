"""Scoring on a Ray cluster (extra ``weir[ray]``): actors that score pieces, on any of its nodes.

Actors rather than a plan of Ray Data: which piece is read next is known only when the lanes before
it have been merged, and a data set is planned before it is read. A piece that was lost with a node
is scored again, with the same result.
"""

import asyncio
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

from models.data.request_streams import is_remote
from models.errors import UserError
from stream.replay.records import LinesRange, Piece, TableRows
from stream.replay.scoring import PieceScorer, ScoredPiece, ScoringPlan
from stream.replay.stages import ScoringStageError, SideBySide

#: Address of a cluster of this replay's own, on this machine, which ends with it.
LOCAL: Final = "local"
#: The cluster that runs on this machine.
AUTO: Final = "auto"
_ANSWER_S: Final = 10.0
#: Seconds in which a cluster must have started all actors; nodes may have to be started.
START_S: Final = 180.0
#: Bytes of the local cluster's object store; a scored piece has some hundred KB.
_STORE_BYTES: Final = 256 << 20
#: Actors that may be lost, and times that one piece may be scored again.
_RETRIES: Final = 4
#: A cluster of one's own listens on loopback only (Ray takes the machine's address otherwise, and
#: replaces a given 127.0.0.1 by it), tells nobody that it is used, and obeys only this process.
_LOCAL_ENVIRONMENT: Final = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
}


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an actor could not score: a sentence, and the address of its node."""

    reason: str
    node: str


class _Actor:
    """Scores pieces on a node; one that starts again after a loss loads the models again."""

    def __init__(self) -> None:
        self._scorer: PieceScorer | None = None

    def load(self, plan: list[Any]) -> str | _Failure:
        """Load the models; returns the version of Weir on the node.

        Args:
            plan: A reference to the plan; in a list, so that it is fetched only when needed.
        """
        try:
            self._scorer_of(plan)
        except UserError as error:
            return _Failure(str(error), _node())
        return version("weir")

    def score(self, plan: list[Any], piece: Piece, verdict: str | None) -> ScoredPiece | _Failure:
        """Read and score a piece."""
        try:
            return self._scorer_of(plan).score(piece, verdict)
        except UserError as error:
            return _Failure(str(error), _node())
        except OSError as error:
            return _Failure(f"a file cannot be read: {error}", _node())

    def _scorer_of(self, plan: list[Any]) -> PieceScorer:
        if self._scorer is None:
            import ray  # noqa: PLC0415

            self._scorer = PieceScorer(ray.get(plan[0]))
        return self._scorer


class OnRay(SideBySide):
    """Scores on a Ray cluster.

    Args:
        plan: What to compute.
        address: :data:`LOCAL`, :data:`AUTO`, or HOST:PORT. If this process is connected already,
            that connection is used.
        actors: Pieces that are scored at a time, on a core each.

    Raises:
        ScoringStageError: If Ray is not installed.
    """

    def __init__(self, plan: ScoringPlan, address: str, actors: int) -> None:
        super().__init__(actors)
        self._plan, self._address, self._count = plan, address, actors
        self._busy: dict[Any, int] = {}
        self._stored: list[Any] = []
        self._stack = ExitStack()
        self._ray = _import_ray(address)

    def __enter__(self) -> Self:
        """Connect, and load the models on the nodes.

        Raises:
            ScoringStageError: If there is no cluster, no room on it, or another Weir.
        """
        with ExitStack() as stack:
            if not self._ray.is_initialized():
                stack.enter_context(connected(self._address, self._count))
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def _start(self, stack: ExitStack) -> None:
        ray = self._ray
        self._stored = [ray.put(self._plan)]
        make = ray.remote(num_cpus=1, max_restarts=_RETRIES, max_task_retries=_RETRIES)(_Actor)
        for _ in range(self._count):
            actor = make.remote()
            stack.callback(ray.kill, actor)
            self._busy[actor] = 0
        try:
            loaded = ray.get(
                [actor.load.remote(self._stored) for actor in self._busy], timeout=START_S
            )
        except ray.exceptions.GetTimeoutError as error:
            raise ScoringStageError(
                f"--ray {self._address}: no room for {self._count} scoring processes of a core "
                f"each within {START_S:.0f} s; give fewer --processes, or wait for other jobs"
            ) from error
        except ray.exceptions.RayError as error:
            raise ScoringStageError(
                f"--ray {self._address}: scoring cannot start on a node; does every node have "
                f"Weir {version('weir')}? ({_last_line(error)})"
            ) from error
        for found in loaded:
            if isinstance(found, _Failure):
                raise ScoringStageError(f"node {found.node} of the Ray cluster: {found.reason}")
            if found != version("weir"):
                raise ScoringStageError(
                    f"--ray {self._address}: a node has Weir {found}, this is {version('weir')}; "
                    "install the same version everywhere"
                )

    async def _score(self, piece: Piece, verdict: str | None) -> ScoredPiece:
        actor = min(self._busy, key=lambda each: self._busy[each])
        self._busy[actor] += 1
        try:
            reference = actor.score.remote(self._stored, _anywhere(piece), verdict)
            found = await asyncio.wrap_future(reference.future())
        except self._ray.exceptions.RayActorError as error:
            raise ScoringStageError(
                "scoring processes of the Ray cluster ended again and again, perhaps for lack of "
                "memory; the same command goes on where the replay stopped; give it fewer "
                "--processes"
            ) from error
        finally:
            self._busy[actor] -= 1
        if isinstance(found, _Failure):
            raise ScoringStageError(
                f"node {found.node} of the Ray cluster: {found.reason}; files must lie at the same "
                "path on every node, or be given as a URL that each can read"
            )
        scored: ScoredPiece = found
        return scored

    def __exit__(self, *_exc: object) -> None:
        """End the actors, and the cluster if it is this replay's own."""
        self._drop()
        self._stored.clear()
        self._stack.close()


@contextmanager
def connected(address: str, cores: int) -> Iterator[None]:
    """A connection of this process to a Ray cluster.

    Args:
        address: As for :class:`OnRay`.
        cores: Those of a local cluster.

    Raises:
        ScoringStageError: If Ray is not installed, or no cluster answers.
    """
    ray = _import_ray(address)
    options: dict[str, Any] = {"address": address}
    with ExitStack() as stack:
        if address == LOCAL:
            options |= {
                "_temp_dir": stack.enter_context(_folder()),
                "num_cpus": cores,
                "num_gpus": 0,
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
            }
        elif address != AUTO:
            _check_answers(address)
        stack.callback(ray.shutdown)
        try:
            ray.init(**options, log_to_driver=False, configure_logging=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_cluster(address, error) from error
        yield


def _check_answers(address: str) -> None:
    """Find out in seconds whether a server is there; Ray takes minutes, and ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isascii() and port.isdigit()):
        raise ScoringStageError(
            f"--ray {address}: not an address; give HOST:PORT or ray://HOST:PORT, {AUTO} or {LOCAL}"
        )
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ScoringStageError:
    reason = str(error).strip().partition("\n")[0]
    return ScoringStageError(
        f"--ray {address}: no Ray cluster answers ({reason}); start one with `ray start --head` "
        "and give its HOST:PORT, or give --ray local"
    )


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for a cluster's logs and sockets, whose paths are short: not in any TMPDIR."""
    return tempfile.TemporaryDirectory(prefix="weir-ray-", dir="/tmp", ignore_cleanup_errors=True)


def _import_ray(address: str) -> Any:
    if address == LOCAL:
        os.environ.update(_LOCAL_ENVIRONMENT)  # read when Ray is imported
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray  # noqa: PLC0415
        import ray.exceptions  # noqa: PLC0415
    except ImportError as error:
        raise ScoringStageError("--ray: Ray is not installed; pip install 'weir[ray]'") from error
    return ray


def _node() -> str:
    import ray.util  # noqa: PLC0415

    return str(ray.util.get_node_ip_address())


def _anywhere(piece: Piece) -> Piece:
    """The piece, as processes with another working directory read it."""
    if isinstance(piece, LinesRange | TableRows) and not is_remote(piece.path):
        return replace(piece, path=str(Path(piece.path).absolute()))
    return piece


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
