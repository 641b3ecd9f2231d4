"""`weir status` on one screen."""

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from stream.doctor.finding import Finding, Level
from stream.status.attention import due_share
from stream.status.facts import Status, TrainerFacts

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def show(console: Console, status: Status, findings: list[Finding]) -> None:
    """Print the screen: what needs attention, then everything else."""
    console.print(
        Group(
            _attention(findings),
            _topics(status),
            _workers(status),
            *(part for trainer in status.trainers for part in _trainer(trainer)),
        )
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _attention(findings: list[Finding]) -> Table:
    table = _table("attention", "", "", "")
    table.show_header = False
    for column in table.columns:
        column.justify = "left"
    for finding in findings:
        level = Text(finding.level, _STYLES[finding.level])
        table.add_row(level, finding.check, finding.sentence)
    return table


def _topics(status: Status) -> Table:
    table = _table("topics", "topic", "partitions", "records", "waiting")
    for topic in status.brokers.topics:
        waiting = [f"{records:,} {group}" for group, records in topic.lag.items()]
        waiting += [
            f"{trainer.lag[topic.name]:,.0f} trainer"
            for trainer in status.trainers
            if topic.name in trainer.lag
        ]
        table.add_row(
            topic.name,
            str(topic.partitions or "missing"),
            f"{topic.records:,}",
            ", ".join(waiting) or "-",
        )
    return table


def _workers(status: Status) -> Table:
    table = _table("workers", "address", "serves", "decided", "intercepted", "target now", "fleet")
    for worker in status.workers:
        table.add_row(
            worker.address,
            "everything passes" if worker.fail_open else worker.model or "-",
            f"{worker.requests:,.0f}",
            f"{worker.achieved:.4f}",
            f"{worker.target:.4f}",
            "shared" if worker.shared else "alone",
        )
    requests = sum(worker.requests for worker in status.workers)
    if requests:
        blocked = sum(worker.blocked for worker in status.workers) / requests
        due = due_share(status.workers)
        table.add_row("all", "", f"{requests:,.0f}", f"{blocked:.4f}", f"{due:.4f} due", "")
    announced = status.brokers.announced
    if announced is not None:
        registry = status.registry
        where = "" if registry.has_announced else ", not in the registry"
        table.caption = f"announced last: {announced}{where}; {registry.versions} in the registry"
        table.caption_justify = "left"
    return table


def _trainer(trainer: TrainerFacts) -> list[Table]:
    return [_store(trainer), _labels(trainer)]


def _store(trainer: TrainerFacts) -> Table:
    rebuild = trainer.rebuild
    table = _table(f"trainer {trainer.address}", "", "")
    table.show_header = False
    table.columns[1].justify = "left"
    behind = f"{ago(trainer.watermark_s)} behind" if trainer.watermark_s is not None else "none yet"
    table.add_row("store", f"{trainer.rows:,.0f} requests, {trainer.bytes / 1e6:,.1f} MB")
    table.add_row("watermark", behind)
    if rebuild.running_s is not None:
        table.add_row("rebuild", f"running for {ago(rebuild.running_s)}")
    if rebuild.ended_s is None:
        table.add_row("last rebuild", "none since it started")
    else:
        text = f"{rebuild.result} {rebuild.version}, {ago(rebuild.ended_s)} ago"
        table.add_row("last rebuild", f"{text}, took {ago(rebuild.took_s)} ({rebuild.reason})")
    following = "" if rebuild.next_s is None else f", by schedule in {ago(rebuild.next_s)}"
    table.add_row("next rebuild", f"{rebuild.waiting:,} mature examples wait{following}")
    if trainer.measured_s is None:
        table.add_row("quality", "not measured yet")
    else:
        drift = ", ".join(f"{name} {psi:.2f}" for name, psi in list(trainer.psi.items())[:3])
        table.add_row("drift (PSI)", drift or "no reference in the serving artifact")
    return table


def _labels(trainer: TrainerFacts) -> Table:
    table = _table(
        "labels", "task", "outcomes", "final", "open", "due in a day", "calibration", "AUC"
    )
    for task, labels in trainer.labels.items():
        mark = " *" if labels.learned_from else ""
        error = f" ± {labels.error:.2f}" if labels.error is not None else ""
        calibrated = labels.calibration is not None
        table.add_row(
            task,
            f"{labels.outcomes:,.0f}",
            "-" if labels.known is None else f"{labels.known:.1%}",
            f"{labels.open:,.0f}",
            f"{labels.due:,.0f}",
            f"{labels.calibration:.2f}{error}{mark}" if calibrated else "too few final labels",
            "-" if labels.auc is None else f"{labels.auc:.3f}{mark}",
        )
    if any(labels.learned_from for labels in trainer.labels.values()):
        table.caption = "* on requests that the model learned from"
        table.caption_justify = "left"
    return table


def ago(seconds: float) -> str:
    """A duration in its largest unit: 45 s, 12 min, 3.4 h, 5.2 d; 0 s if it is over."""
    seconds = max(0.0, seconds)
    for unit, size, next_size in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86_400)):
        if seconds < next_size:
            return f"{seconds / size:.1f} h" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.1f} d"
