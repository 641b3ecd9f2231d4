"""Students compared: what the uncertainty head learns, and how large the net is.

    python benchmarks/students.py [--rows N] [--seed S] [--targets] [--sizes] [--plot F]

A teacher is fitted to simulated requests and labels as many others; students are trained on both
and evaluated on a held-out part, against five sets of the teacher's samples that were not used in
training: the drop in AUC-ROC, and the rank correlation of u and the overlap of the most uncertain
tenth, each divided by that between two of these sets. The time per request is that at batch 512 on
one onnxruntime thread: CPU time of the calling thread, alternating between models, lower quartile,
so that other programs disturb it less.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from models.data.examples import read_examples
from models.features import FeatureSpec
from models.nets.config import StudentConfig, Target
from models.nets.embedding import FeatureLayout
from models.nets.export import export_student
from models.nets.student import Student
from models.plots import Line, line_plot
from models.tasks import DEFAULT_TASKS
from trainer.evaluation.metrics import evaluate, spearman
from trainer.experiments.measures import agreement, overlap
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import write_examples
from trainer.training.config import StudentTraining, TrainConfig
from trainer.training.context import FitContext
from trainer.training.distillation import fit_student, sets_per_row
from trainer.training.loop import deterministic
from trainer.training.soft_labels import label_rows
from trainer.training.teacher import fit_teacher

SPEC = FeatureSpec.load("openrtb")
LAYOUT = FeatureLayout.of(SPEC)
FRESH = 20_000
FRESH_SETS = 5
UNUSED = 1_000_000
"""Sets of samples from this number on are not used in training."""
BATCH = 512
TARGETS: tuple[Target, ...] = ("mean", "log_variance", "rank", "quantile")
SIZES = (
    StudentConfig(4, (32, 16)),
    StudentConfig(4, (64, 32)),
    StudentConfig(6, (64, 32)),
    StudentConfig(4, (96, 48)),
    StudentConfig(6, (96, 48)),
    StudentConfig(8, (96, 48)),
    StudentConfig(8, (128, 64)),
)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class World:
    """Training and held-out rows, with the teacher's predictions.

    Attributes:
        ids_NC: Training rows.
        mean_NT: The teacher's scores of them.
        std_NT: The teacher's uncertainties of them.
        fresh_NC: Held-out rows.
        fresh_mean_NT: The teacher's scores of them.
        fresh_sets: Uncertainties of them by sets of samples that were not used in training.
        fresh_targets_NT: Their labels.
    """

    ids_NC: torch.Tensor
    mean_NT: torch.Tensor
    std_NT: torch.Tensor
    fresh_NC: npt.NDArray[np.int32]
    fresh_mean_NT: Floats
    fresh_sets: list[Floats]
    fresh_targets_NT: Floats


def build_world(rows: int, seed: int, folder: Path) -> World:
    """Simulate, fit the teacher on the first ``rows``, label everything."""
    config, context = TrainConfig(), FitContext(seed)
    path = folder / "examples.parquet"
    write_examples(Simulator(seed), 2 * rows + FRESH, path, SPEC)
    examples = read_examples(path, SPEC, DEFAULT_TASKS)
    ids_NC = torch.from_numpy(examples.features_NC)
    targets_NT = examples.targets(DEFAULT_TASKS)
    teacher = fit_teacher(
        LAYOUT,
        ids_NC[:rows],
        torch.from_numpy(targets_NT[:rows]),
        config=config.net,
        training=config.teacher,
        context=context,
    )
    mean_NT, std_NT = label_rows(
        teacher,
        ids_NC[: 2 * rows],
        len(DEFAULT_TASKS),
        folder / "labels",
        sets=sets_per_row(2 * rows, config.distillation),
        context=context,
    )
    fresh_NC = ids_NC[2 * rows :]
    others = (teacher.redrawn(UNUSED + number) for number in range(FRESH_SETS))
    return World(
        ids_NC[: 2 * rows],
        mean_NT,
        std_NT,
        examples.features_NC[2 * rows :],
        teacher.predict(fresh_NC)[0].numpy(),
        [other.predict(fresh_NC)[1].numpy() for other in others],
        targets_NT[2 * rows :],
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """A student's figures for one task.

    Attributes:
        drop: Drop in AUC-ROC against the teacher.
        order: Spearman correlation of u, as a share of its ceiling.
        tail: Overlap of the most uncertain tenth, as a share of its ceiling.
    """

    drop: float
    order: float
    tail: float

    def __str__(self) -> str:
        return f"{self.drop:+.4f} {self.order:.3f} {self.tail:.3f}"


def compare(world: World, student: Student) -> dict[str, Figures]:
    """Figures of a student by task."""
    scores_NT, u_NT = (part.numpy() for part in student.predict(torch.from_numpy(world.fresh_NC)))
    own = evaluate(scores_NT, world.fresh_targets_NT, DEFAULT_TASKS)
    teachers = evaluate(world.fresh_mean_NT, world.fresh_targets_NT, DEFAULT_TASKS)
    found = {}
    for column, name in enumerate(DEFAULT_TASKS.names):
        sets = [u_NT[:, column] for u_NT in world.fresh_sets]
        drop = (teachers[name].auc_roc or 0.0) - (own[name].auc_roc or 0.0)
        order, tail = (
            agreement(measure, u_NT[:, column], sets).of_ceiling for measure in (spearman, overlap)
        )
        found[name] = Figures(drop, order, tail)
    return found


def microseconds(models: dict[str, bytes], ids_NC: npt.NDArray[np.int32]) -> dict[str, float]:
    """CPU microseconds per request of each model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {
        name: ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for name, model in models.items()
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(100):
        for name, session in sessions.items():
            began = time.thread_time()
            for _ in range(4):
                session.run(None, {"ids": ids_NC[:BATCH]})
            times[name].append((time.thread_time() - began) / 4 / BATCH * 1e6)
    return {name: float(np.quantile(spent, 0.25)) for name, spent in times.items()}


def main() -> None:
    """Print one line per student."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="Number of training rows.")
    parser.add_argument("--seed", type=int, default=1, help="Seed of traffic and training.")
    parser.add_argument("--targets", action="store_true", help="Compare the targets of u.")
    parser.add_argument("--sizes", action="store_true", help="Compare the sizes of the student.")
    parser.add_argument("--plot", type=Path, help="SVG file to write the trade-off to.")
    asked = parser.parse_args()
    plans = [
        (StudentConfig(), StudentTraining(target=target)) for target in TARGETS if asked.targets
    ]
    plans += [(sizes, StudentTraining()) for sizes in SIZES if asked.sizes]
    models: dict[str, bytes] = {}
    figures: dict[str, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory() as folder, deterministic(1, asked.seed):
        world = build_world(asked.rows, asked.seed, Path(folder))
        print(f"per task ({', '.join(DEFAULT_TASKS.names)}): AUC drop; of ceiling: Spearman, tail")
        for sizes, training in plans:
            student = fit_student(
                LAYOUT,
                world.ids_NC,
                world.mean_NT,
                world.std_NT,
                sizes=sizes,
                training=training,
                context=FitContext(asked.seed),
            )
            name = f"{training.target} {sizes.embedding} {sizes.hidden}"
            figures[name] = compare(world, student)
            print(f"{name:24} | {' | '.join(map(str, figures[name].values()))}", flush=True)
            models[name] = export_student(student)
    times = microseconds(models, world.fresh_NC)
    for name, spent in times.items():
        print(f"{name:24} | {spent:.2f} us")
    if asked.plot is not None:
        asked.plot.write_text(trade_off(times, figures))


def trade_off(times: dict[str, float], figures: dict[str, dict[str, Figures]]) -> str:
    """The tail's overlap over the time per request, as SVG."""
    names = sorted(times, key=times.__getitem__)
    x = [times[name] for name in names]
    lines = {
        task: Line(x, [figures[name][task].tail for name in names]) for task in DEFAULT_TASKS.names
    }
    return line_plot(lines, "CPU us per request", "most uncertain tenth, of its ceiling")


if __name__ == "__main__":
    main()
