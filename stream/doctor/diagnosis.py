"""`weir doctor`: whether everything that a role needs is there, before anything starts.

Facts are gathered once (`facts`), and each check looks at them (`access`, `topics`) or at this
machine (`local`); a check is a function from settings and facts to findings. The quick ones are a
worker's own first step.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from aiokafka.errors import KafkaError

from models.errors import UserError
from models.settings import Settings, SettingsError
from stream.doctor import access, local
from stream.doctor.facts import Facts, gather_quickly, look_at_nodes, newest_request
from stream.doctor.finding import Finding, Level, fail
from stream.doctor.topics import all_topics
from stream.kafka.connection import ConnectionFaultError
from stream.kafka.rights import Role

__all__ = ["Finding", "Level", "NotReadyError", "diagnose", "first_step"]

logger = logging.getLogger(__name__)

#: Of this machine alone, without brokers.
_LOCAL: Final[tuple[Callable[[Settings], Iterable[Finding]], ...]] = (
    local.artifact,
    local.registry,
    local.extraction,
)


#: Checks that waiting does not mend.
_FATAL: Final = frozenset({"connection", "version", "rights"})


class NotReadyError(UserError, RuntimeError):
    """What a worker needs is not there; one line per fault, each with its fix."""


async def diagnose(
    settings: Settings, roles: Sequence[Role], clock: Callable[[], float] = time.time
) -> list[Finding]:
    """All that can be found out about these roles; raises nothing that a check should say.

    Args:
        settings: All settings.
        roles: What is to run.
        clock: Seconds since the epoch.
    """
    findings: list[Finding] = []
    try:
        facts = await gather_quickly(settings, roles)
        requests = facts.topics.get(settings.topics.requests)
        facts = replace(
            facts,
            nodes=await look_at_nodes(settings, facts.server),
            newest=await newest_request(settings, requests.partitions if requests else 0),
            now_ms=int(clock() * 1000),
        )
        findings += _of_brokers(settings, facts, roles)
        findings += [*access.nodes(settings, facts), *local.clock(settings, facts)]
    except (ConnectionFaultError, SettingsError) as error:
        findings.append(fail("connection", str(error)))
    except KafkaError as error:
        findings.append(fail("connection", f"the broker stopped answering: {error}"))
    for check in _LOCAL:
        findings += await asyncio.to_thread(_all, check, settings)
    return findings


async def first_step(settings: Settings, role: Role) -> None:
    """The quick checks of a worker that is about to start.

    What it waits for, or mends itself, is logged; what it may not do ends it.

    Raises:
        ConnectionFaultError: If no broker can be used.
        NotReadyError: If a right is missing, or the brokers lack what it needs.
    """
    facts = await gather_quickly(settings, [role])
    findings = _of_brokers(settings, facts, [role])
    for finding in findings:
        if finding.level is Level.WARN or (
            finding.level is Level.FAIL and finding.check not in _FATAL
        ):
            logger.warning("%s: %s", finding.check, finding.sentence)
    wrong = [f.sentence for f in findings if f.level is Level.FAIL and f.check in _FATAL]
    if wrong:
        raise NotReadyError("\n".join(wrong))


def _of_brokers(settings: Settings, facts: Facts, roles: Sequence[Role]) -> list[Finding]:
    return [
        *access.connection(settings, facts),
        *access.rights(settings, facts, roles),
        *all_topics(settings, facts),
    ]


def _all(check: Callable[[Settings], Iterable[Finding]], settings: Settings) -> list[Finding]:
    return list(check(settings))
