"""Students compared: what the uncertainty head learns, and how large the net is.

    python tests/bench/students.py [--rows N] [--seed S] [--targets] [--sizes]

A teacher learns from simulated requests and labels as many others again; students learn from both
and are judged on fresh ones: the drop in AUC-ROC against the teacher, the rank correlation of u,
the overlap of the most uncertain tenth, and the time per request at batch 512 on one onnxruntime
thread. That is CPU time of the calling thread, models taking turns, lower quartile, so that other
programs disturb it less.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from rich.progress import Progress
from scipy.stats import spearmanr

from models.examples import read_examples
from models.features import FeatureSpec
from models.nets.embedding import FeatureLayout
from models.nets.export import export_student
from models.nets.scale import Target
from models.nets.student import Student, StudentConfig
from models.tasks import DEFAULT_TASKS
from trainer.config import StudentTraining, TrainConfig
from trainer.distill import fit_student
from trainer.evaluate import evaluate
from trainer.fitting import deterministic
from trainer.teacher import fit_teacher
from trainer.traffic.examples import write_examples
from trainer.traffic.simulator import Simulator

SPEC = FeatureSpec.load("openrtb")
LAYOUT = FeatureLayout.of(SPEC)
FRESH = 20_000
BATCH = 512
TARGETS: tuple[Target, ...] = ("mean", "log_variance", "rank", "quantile")
SIZES = (
    StudentConfig(4, (64, 32)),
    StudentConfig(6, (64, 32)),
    StudentConfig(4, (96, 48)),
    StudentConfig(6, (96, 48)),
    StudentConfig(8, (128, 64)),
)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class World:
    """Rows that students learn from, fresh ones, and what the teacher says of both."""

    ids_NC: torch.Tensor
    mean_NT: torch.Tensor
    std_NT: torch.Tensor
    fresh_NC: npt.NDArray[np.int32]
    fresh_mean_NT: Floats
    fresh_std_NT: Floats
    fresh_targets_NT: Floats


def build_world(rows: int, seed: int) -> World:
    """Simulate, fit the teacher on the first ``rows``, label everything."""
    simulator, config = Simulator(seed), TrainConfig().quick()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.parquet"
        write_examples(simulator, 2 * rows + FRESH, path, SPEC)
        examples = read_examples(path, SPEC, DEFAULT_TASKS)
    ids_NC = torch.from_numpy(examples.features_NC)
    targets_NT = examples.targets(DEFAULT_TASKS)
    teacher = fit_teacher(
        LAYOUT,
        ids_NC[:rows],
        torch.from_numpy(targets_NT[:rows]),
        config=config.net,
        training=replace(config.teacher, samples=20),
        seed=seed,
        progress=Progress(disable=True),
    )
    labels = [teacher.predict(ids_BC) for ids_BC in torch.split(ids_NC, 8192)]
    mean_NT, std_NT = (torch.cat(parts) for parts in zip(*labels, strict=True))
    return World(
        ids_NC[: 2 * rows],
        mean_NT[: 2 * rows],
        std_NT[: 2 * rows],
        examples.features_NC[2 * rows :],
        mean_NT[2 * rows :].numpy(),
        std_NT[2 * rows :].numpy(),
        targets_NT[2 * rows :],
    )


def judge(world: World, student: Student) -> str:
    """Drop in AUC-ROC, Spearman of u and overlap of the most uncertain tenth, per task."""
    scores_NT, u_NT = (part.numpy() for part in student.predict(torch.from_numpy(world.fresh_NC)))
    own = evaluate(scores_NT, world.fresh_targets_NT, DEFAULT_TASKS)
    teachers = evaluate(world.fresh_mean_NT, world.fresh_targets_NT, DEFAULT_TASKS)
    cells = []
    for column, name in enumerate(DEFAULT_TASKS.names):
        wanted_N, found_N = world.fresh_std_NT[:, column], u_NT[:, column]
        drop = (teachers[name].auc_roc or 0.0) - (own[name].auc_roc or 0.0)
        order = float(spearmanr(wanted_N, found_N).statistic)
        cells.append(f"{drop:+.4f} {order:.3f} {overlap(wanted_N, found_N):.3f}")
    return " | ".join(cells)


def overlap(one_N: Floats, other_N: Floats) -> float:
    """Share of the most uncertain tenth of one that is in the other's."""
    count = len(one_N) // 10
    tops = [set(np.argsort(values_N)[-count:].tolist()) for values_N in (one_N, other_N)]
    return len(tops[0] & tops[1]) / count


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
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    asked = parser.parse_args()
    plans = [
        (StudentConfig(), StudentTraining(target=target)) for target in TARGETS if asked.targets
    ]
    plans += [(sizes, StudentTraining()) for sizes in SIZES if asked.sizes]
    models: dict[str, bytes] = {}
    with deterministic(1, asked.seed):
        world = build_world(asked.rows, asked.seed)
        print(f"per task ({', '.join(DEFAULT_TASKS.names)}): AUC drop, Spearman, top-tenth overlap")
        for sizes, training in plans:
            student = fit_student(
                LAYOUT,
                world.ids_NC,
                world.mean_NT,
                world.std_NT,
                sizes=sizes,
                training=training,
                progress=Progress(disable=True),
            )
            name = f"{training.target} {sizes.embedding} {sizes.hidden}"
            print(f"{name:24} | {judge(world, student)}", flush=True)
            models[name] = export_student(student)
    for name, spent in microseconds(models, world.fresh_NC).items():
        print(f"{name:24} | {spent:.2f} us")


if __name__ == "__main__":
    main()
