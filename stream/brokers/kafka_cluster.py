"""Apache Kafka on this machine without containers: KRaft nodes from Maven's jars, on loopback.

It is for tests that need the real broker: one node or several, which can be killed and restarted.
Every node is broker and controller in one process.
"""

import base64
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiokafka.errors import KafkaError

from models.settings import KafkaSettings
from stream.brokers.certificates import Authority
from stream.brokers.children import free_port
from stream.brokers.cluster_state import active_controller, live_nodes, partition_leader
from stream.brokers.kafka_jars import fetch_jars, java_command, run_all
from stream.brokers.process import HOST, BrokerError, BrokerProcess, refuse_taken
from stream.brokers.security import USER, Mechanism, Secured, Security, secure
from stream.kafka.client import client_options

START_S: Final = 90.0
STOP_S: Final = 30.0
_POLL_S: Final = 0.05
#: Partitions of the groups' and the transactions' topics: few, so that they are created fast.
_INTERNAL_PARTITIONS: Final = 8
_MAX_REPLICATION: Final = 3
#: A node logs this when clients can connect and the controller has registered it.
_UP: Final = b"Kafka Server started"
#: Options of Java for programs that run for a second.
_SHORT: Final = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class KafkaCluster:
    """Kafka nodes, numbered from 1; a context manager. Every start begins without data.

    All methods block; inside an event loop, they block the loop.

    Args:
        folder: Folder of the jars, which are kept, and of a folder ``cluster`` with data, logs and
            certificates.
        nodes: Number of nodes. With three or more, topics survive the loss of one.
        port: Port of the first node's client listener, 0 for a free one. The others get free ones.
        security: A :class:`~stream.brokers.security.Security` or its value.
        mechanism: SASL mechanism, if ``security`` includes a login.
        users: Users besides ``weir``.
        acls: Whether users other than ``weir`` need ACLs.
        jars: Folder of the jars, if they are not in ``folder``.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        port: int = 0,
        security: str = Security.PLAINTEXT,
        *,
        mechanism: str = Mechanism.SCRAM_SHA_512,
        users: Sequence[str] = (),
        acls: bool = False,
        jars: Path | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.security = Security(security)
        self._secure = partial(
            secure, self.security, mechanism=Mechanism(mechanism), users=users, acls=acls
        )
        self._jars = (jars or self.folder / "jars").resolve()
        self._count = nodes
        self._port = port
        self._nodes: dict[int, _Node] = {}
        self._secured: Secured | None = None

    @property
    def bootstrap(self) -> str:
        """Addresses of all nodes for clients: ``host:port,host:port``."""
        return ",".join(node.address for node in self._nodes.values())

    @property
    def client(self) -> KafkaSettings:
        """Connection settings of the user ``weir``; other settings are unset.

        Raises:
            BrokerError: If it was never started.
        """
        return self.client_as(USER)

    def client_as(self, user: str) -> KafkaSettings:
        """Connection settings of a user.

        Raises:
            BrokerError: If it was never started.
        """
        found = self._started().clients[user].model_dump(exclude_unset=True)
        replication = min(self._count, _MAX_REPLICATION)
        return KafkaSettings(bootstrap=self.bootstrap, replication=replication, **found)

    @property
    def internal(self) -> str:
        """Address of the nodes' own listener: plain text, and authorized for everything."""
        return next(iter(self._nodes.values())).internal

    @property
    def authority(self) -> Authority | None:
        """The certificate authority, if ``security`` includes TLS.

        Raises:
            BrokerError: If it was never started.
        """
        return self._started().authority

    def _started(self) -> Secured:
        if self._secured is None:
            raise BrokerError("the cluster was not started, so its addresses are not known")
        return self._secured

    @property
    def pids(self) -> dict[int, int]:
        """Process ids of the nodes that run, by node."""
        found = {number: node.process.pid for number, node in self._nodes.items()}
        return {number: pid for number, pid in found.items() if pid is not None}

    def start(self) -> Self:
        """Fetch the jars unless they are there, format the storage, start all nodes, wait for them.

        Raises:
            BrokerError: If Java or Maven is missing, the port is taken, or a step fails; names the
                log.
        """
        if self.pids:
            raise BrokerError(f"the cluster in {self.folder} is already running")
        if self._port:
            refuse_taken(self._port)
        home, setup = self.folder / "cluster", self.folder / "setup.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        fetch_jars(self._jars, setup)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)  # it holds passwords
        self._secured = self._secure(home)
        self._nodes = self._plan(home, self._secured.server)
        self._format(self._secured.format_arguments, setup)
        try:
            for node in self._nodes.values():
                node.process.spawn()
            self._wait_until_up(set(self._nodes))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all nodes with SIGTERM, and with SIGKILL after a while; may be called again.

        Nodes without a quorum do not stop by themselves, so they are killed.
        """
        for node in self._nodes.values():
            node.process.terminate()
        quorum, deadline = self._count // 2 + 1, time.monotonic() + STOP_S
        while len(self.pids) >= quorum and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for node in self._nodes.values():
            node.process.kill()

    def kill(self, node: int) -> None:
        """Kill a node (SIGKILL) and wait until it has ended. Its data stays.

        Raises:
            BrokerError: If there is no such node.
        """
        self._node(node).process.kill()

    def terminate(self, node: int) -> None:
        """Shut a node down (SIGTERM): it transfers its leaderships first.

        Raises:
            BrokerError: If there is no such node, or it did not end and had to be killed.
        """
        process = self._node(node).process
        if not process.stop(STOP_S):
            raise BrokerError(
                f"{process.name} did not stop within {STOP_S:g} s and was killed; see {process.log}"
            )

    def start_node(self, node: int) -> None:
        """Start a node again on the same data and ports; returns when all nodes know that it is up.

        Raises:
            BrokerError: If there is no such node, it runs already, or is not up in time.
        """
        self._node(node).process.spawn()
        try:
            self._wait_until_up({node})
        except BaseException:
            self.kill(node)
            raise

    def controller(self) -> int:
        """Number of the active controller's node, -1 while there is none.

        Raises:
            KafkaError: If no node answers.
        """
        return active_controller(client_options(self.client))

    def leader(self, topic: str, partition: int) -> int:
        """Number of the node that leads a partition, -1 while there is none.

        Raises:
            KafkaError: If no node answers, or there is no such topic.
            KeyError: If the topic has no such partition.
        """
        return partition_leader(client_options(self.client), topic, partition)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _node(self, number: int) -> "_Node":
        if number not in self._nodes:
            raise BrokerError(f"there is no node {number}; there are {sorted(self._nodes)}")
        return self._nodes[number]

    def _plan(self, home: Path, security: Mapping[str, str]) -> "dict[int, _Node]":
        ports = [self._port or free_port(), *(free_port() for _ in range(3 * self._count - 1))]
        numbered = range(1, self._count + 1)
        voters = ",".join(f"{n}@{HOST}:{ports[3 * n - 1]}" for n in numbered)
        shared = _cluster_settings(self._count, self.security, voters) | dict(security)
        return {n: _Node(n, home, self._jars, ports[3 * n - 3 : 3 * n], shared) for n in numbered}

    def _format(self, arguments: tuple[str, ...], log: Path) -> None:
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        commands = [
            java_command(
                self._jars, "kafka.tools.StorageTool", "format",
                f"--cluster-id={identity}",  # as one argument: it may begin with a hyphen
                "--config", str(node.settings), *arguments, options=_SHORT,
            )
            for node in self._nodes.values()
        ]  # fmt: skip
        run_all(commands, log)

    def _wait_until_up(self, numbers: set[int]) -> None:
        """Wait until these nodes are up, and all running nodes know it."""
        for number in numbers:
            process = self._nodes[number].process
            process.wait_until(partial(process.printed, _UP), START_S)
        for number in self.pids:
            process = self._nodes[number].process
            process.wait_until(partial(self._knows, number, numbers), START_S)

    def _knows(self, number: int, others: set[int]) -> bool:
        address = self._nodes[number].address
        try:
            return others <= live_nodes(
                client_options(self.client) | {"bootstrap_servers": address}
            )
        except KafkaError:
            return False


class _Node:
    """One node: its folder, configuration and process."""

    def __init__(
        self, number: int, home: Path, jars: Path, ports: list[int], shared: Mapping[str, str]
    ) -> None:
        folder = home / f"node-{number}"
        folder.mkdir()
        client, internal, controller = ports
        self.address = f"{HOST}:{client}"
        self.internal = f"{HOST}:{internal}"
        self.settings = folder / "server.properties"
        served = f"CLIENT://{self.address},INTERNAL://{self.internal}"
        own = {
            "node.id": str(number),
            "log.dirs": str(folder / "data"),
            "listeners": f"{served},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": served,
        }
        lines = (f"{key}={value}\n" for key, value in {**shared, **own}.items())
        self.settings.write_text("".join(lines))
        command = java_command(jars, "kafka.Kafka", str(self.settings), options=("-Xmx512m",))
        self.process = BrokerProcess(f"Kafka node {number}", command, folder / "kafka.log")


def _cluster_settings(nodes: int, security: Security, voters: str) -> dict[str, str]:
    """The configuration that all nodes share."""
    replication = min(nodes, _MAX_REPLICATION)
    in_sync = str(max(1, replication - 1))
    protocols = f"CLIENT:{security.protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
    return {
        "process.roles": "broker,controller",
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": protocols,
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replication),
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": str(replication),
        "offsets.topic.num.partitions": str(_INTERNAL_PARTITIONS),
        "transaction.state.log.replication.factor": str(replication),
        "transaction.state.log.num.partitions": str(_INTERNAL_PARTITIONS),
        "transaction.state.log.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        # Kafka deletes records by their timestamps, and replayed or simulated ones may be old.
        "log.retention.ms": "-1",
        # So that a short retention of a topic takes effect soon.
        "log.retention.check.interval.ms": "10000",
        # A killed node is fenced after 6 s instead of 9, and cannot register again before that.
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "1000",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),  # default: 128 MiB of a small heap
    }
