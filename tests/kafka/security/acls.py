"""Grants and revokes rights on a cluster with ACLs, as its superuser."""

from collections.abc import Iterable
from dataclasses import replace

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from stream.brokers.kafka_cluster import KafkaCluster
from stream.kafka.rights import Right

KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
TIMEOUT_S = 30.0


def grant(cluster: KafkaCluster, user: str, rights: Iterable[Right]) -> None:
    """Grant rights to ``user``; some may be listed twice."""
    single = dict.fromkeys(
        replace(r, operations=(o,), without="") for r in rights for o in r.operations
    )
    wanted = [binding for right in single for binding in _bindings(AclBinding, user, right)]
    admin = _admin(cluster)  # its requests end when it is collected
    for done in admin.create_acls(wanted).values():
        done.result(TIMEOUT_S)


def revoke(cluster: KafkaCluster, user: str, right: Right) -> None:
    """Revoke a right."""
    gone = _bindings(AclBindingFilter, user, right)
    admin = _admin(cluster)
    for done in admin.delete_acls(gone).values():
        assert done.result(TIMEOUT_S), "nothing was granted"


def _bindings(kind: type, user: str, right: Right) -> list:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    return [
        kind(
            KINDS[right.resource],
            right.name,
            pattern,
            f"User:{user}",
            "*",
            AclOperation[operation.name],
            AclPermissionType.ALLOW,
        )
        for operation in right.operations
    ]


def _admin(cluster: KafkaCluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.internal})
