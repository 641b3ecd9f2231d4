"""Runs all checks for `weir doctor`, and the quick ones when a worker starts.

Facts are gathered once (`facts`). A check is a function from settings and facts to findings, about
the brokers (`access`, `topics`) or about this machine (`local`).
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
from stream.doctor.facts import Facts, check_nodes, gather_facts, newest_request
from stream.doctor.finding import Finding, Level, fail
from stream.doctor.topics import all_topics
from stream.kafka.connection import ConnectionFaultError
from stream.kafka.rights import Role

logger = logging.getLogger(__name__)

#: Checks that need no brokers.
_LOCAL: Final[tuple[Callable[[Settings], Iterable[Finding]], ...]] = (
    local.artifact,
    local.registry,
    local.extraction,
)

#: Checks whose failure ends a worker, because waiting does not help.
_FATAL: Final = frozenset({"connection", "version", "rights"})


class NotReadyError(UserError, RuntimeError):
    """A worker cannot start; one line per fault, each with its fix."""


async def diagnose(
    settings: Settings, roles: Sequence[Role], clock: Callable[[], float] = time.time
) -> list[Finding]:
    """Run all checks for some roles; what fails is a finding, not an exception.

    Args:
        settings: All settings.
        roles: The roles that are to run.
        clock: Seconds since the epoch.
    """
    findings: list[Finding] = []
    try:
        facts = await gather_facts(settings, roles)
        requests = facts.topics.get(settings.topics.requests)
        facts = replace(
            facts,
            nodes=await check_nodes(settings, facts.server),
            newest=await newest_request(settings, requests.partitions if requests else 0),
            now_ms=int(clock() * 1000),
        )
        findings += _broker_checks(settings, facts, roles)
        findings += [*access.nodes(settings, facts), *local.clock(settings, facts)]
    except (ConnectionFaultError, SettingsError) as error:
        findings.append(fail("connection", str(error)))
    except KafkaError as error:
        findings.append(fail("connection", f"the broker stopped answering: {error}"))
    for check in _LOCAL:
        findings += await asyncio.to_thread(_all, check, settings)
    return findings


async def preflight(settings: Settings, role: Role) -> None:
    """Run the quick checks of a worker that is about to start.

    A fault that the worker can wait for or correct itself is logged.

    Raises:
        ConnectionFaultError: If no broker can be used.
        NotReadyError: If a required right is missing, or the brokers lack a feature that it needs.
    """
    facts = await gather_facts(settings, [role])
    findings = _broker_checks(settings, facts, [role])
    for finding in findings:
        if finding.level is Level.WARN or (
            finding.level is Level.FAIL and finding.check not in _FATAL
        ):
            logger.warning("%s: %s", finding.check, finding.sentence)
    fatal = [f.sentence for f in findings if f.level is Level.FAIL and f.check in _FATAL]
    if fatal:
        raise NotReadyError("\n".join(fatal))


def _broker_checks(settings: Settings, facts: Facts, roles: Sequence[Role]) -> list[Finding]:
    return [
        *access.connection(settings, facts),
        *access.rights(settings, facts, roles),
        *all_topics(settings, facts),
    ]


def _all(check: Callable[[Settings], Iterable[Finding]], settings: Settings) -> list[Finding]:
    return list(check(settings))
