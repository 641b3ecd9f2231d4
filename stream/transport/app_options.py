"""The Faust settings that make an app on this transport right and fast."""

from typing import Any, Final

import mode
from faust.types.auth import CredentialsT

#: How soon a consumer sees that a topic has grown, or is back.
METADATA_MS: Final = 30_000


def broker_url(bootstrap: str) -> str:
    """``weir://a:1;weir://b:2`` for the bootstrap servers ``a:1,b:2``.

    Raises:
        ValueError: If no server is named.
    """
    servers = [server.strip() for server in bootstrap.split(",") if server.strip()]
    if not servers:
        raise ValueError("bootstrap: no server named; expected host:port[,host:port...]")
    return ";".join(f"weir://{server}" for server in servers)


def heartbeat_s(session_timeout_s: float) -> float:
    """Seconds between heartbeats to the group."""
    return min(3.0, session_timeout_s / 3)


def app_options(
    *,
    bootstrap: str,
    session_timeout_s: float,
    max_chunk_records: int,
    max_chunk_bytes: int,
    credentials: CredentialsT | None = None,
    commit_interval_s: float = 1.0,
    partitions: int = 1,
    replication: int = 1,
) -> dict[str, Any]:
    """Keyword arguments for ``faust.App(group, **app_options(...))``.

    Args:
        bootstrap: ``host:port``, several separated by commas.
        session_timeout_s: After how long without a heartbeat a worker counts as dead. The embedded
            broker waits half of it before a first join; 6 is good there.
        max_chunk_records: Most records of a chunk.
        max_chunk_bytes: Most bytes fetched per partition, as they lie in the broker (compressed
            records grow); a larger record comes alone.
        credentials: Faust credentials (SASL, SSL), or None for plain text.
        commit_interval_s: Seconds between commits of what was acknowledged.
        partitions: Partitions of the changelog topics that Faust makes for tables.
        replication: Replication factor of those topics.
    """
    return {
        "broker": broker_url(bootstrap),
        "broker_credentials": credentials,
        "broker_session_timeout": session_timeout_s,
        "broker_heartbeat_interval": heartbeat_s(session_timeout_s),
        "broker_request_timeout": max(90.0, 2 * session_timeout_s),
        "broker_commit_interval": commit_interval_s,
        "broker_max_poll_records": max_chunk_records,
        "consumer_max_fetch_size": max_chunk_bytes,
        "consumer_metadata_max_age_ms": METADATA_MS,
        "consumer_auto_offset_reset": "earliest",  # nothing committed yet: nothing may be skipped
        "agent_supervisor": mode.CrashingSupervisor,  # an agent that raised stops the process
        "stream_wait_empty": True,  # a rebalance drains what agents work on, then commits
        "stream_recovery_delay": 0.0,
        "topic_partitions": partitions,
        "topic_replication_factor": replication,
        "topic_disable_leader": True,  # no leader topic, no second assignment to wait for
        "store": "memory://",
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
