"""The Faust settings of an app on this transport."""

from typing import Any, Final

import mode
from faust.types.auth import CredentialsT

#: How soon a consumer notices that a topic was created or has more partitions.
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
) -> dict[str, Any]:
    """Keyword arguments for ``faust.App(group, **app_options(...))``.

    Args:
        bootstrap: ``host:port``, several separated by commas.
        session_timeout_s: A member of the group without a heartbeat for so long is removed. The
            embedded broker delays the first join by half of it; 6 is a good value there.
        max_chunk_records: Maximum number of records of a chunk.
        max_chunk_bytes: Maximum bytes fetched per partition, as stored by the broker (compressed
            records grow); a larger record is fetched alone.
        credentials: Faust credentials (SASL, SSL), or None for plain text.
        commit_interval_s: Seconds between commits of acknowledged chunks.
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
        "consumer_auto_offset_reset": "earliest",  # never skip records
        "agent_supervisor": mode.CrashingSupervisor,  # an agent that raises stops the process
        "stream_wait_empty": True,  # a rebalance drains what agents work on, then commits
        "stream_recovery_delay": 0.0,
        "topic_disable_leader": True,  # no leader topic, so no second assignment
        "store": "memory://",
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
