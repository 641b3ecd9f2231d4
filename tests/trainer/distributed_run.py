"""What `test_devices.py` runs in one process and in several: a fit with masks, and a training."""

import sys
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch
from rich.progress import Progress
from safetensors.torch import save_file
from torch import nn

from models.nets.losses import bce_by_task
from tests.trainer.small_world import CONFIG, CREATED, SPEC, TASKS, frame
from trainer.pipeline.train import train
from trainer.training.context import FitContext
from trainer.training.devices import Devices, open_devices
from trainer.training.loop import deterministic, run_steps

ROWS, BATCH, STEPS = 200, 24, 30


def fit(devices: Devices) -> dict[str, torch.Tensor]:
    """Weights after some steps on targets that are masked unevenly."""
    with deterministic(1, 3, devices):
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        x_NI = torch.randn(ROWS, 4)
        targets_NT = (torch.rand(ROWS, 2) < 0.4).float()
        targets_NT[torch.rand(ROWS, 2) < torch.tensor([0.2, 0.9])] = torch.nan

        def loss(rows_B: torch.Tensor, _step: int) -> torch.Tensor:
            targets_BT = targets_NT[rows_B]
            losses_T = bce_by_task(net(x_NI[rows_B]), targets_BT)
            return (losses_T * devices.weights(targets_BT)).sum()

        run_steps(
            net,
            rows=ROWS,
            batch=BATCH,
            steps=STEPS,
            learning_rate=lambda _: 1e-2,
            loss=loss,
            after_step=lambda _: None,
            name="net",
            context=FitContext(devices=devices),
        )
    return net.state_dict()


def main(folder: Path) -> None:
    """Write `weights` and the artifact `artifact` into the folder."""
    with open_devices("cpu") as devices:
        weights = fit(devices)
        if devices.first:
            save_file(weights, folder / "weights")
            frame(1500, seed=1).write_parquet(folder / "examples.parquet")
        devices.gather(torch.zeros(1))
        # The processes connect once; `train` takes the connection that is there.
        with mock.patch("trainer.pipeline.train.open_devices", return_value=nullcontext(devices)):
            train(
                folder / "examples.parquet",
                SPEC,
                folder / "artifact",
                CONFIG,
                0,
                created=CREATED,
                tasks=TASKS,
                progress=Progress(disable=True),
                checkpoint=folder / "checkpoint",
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
