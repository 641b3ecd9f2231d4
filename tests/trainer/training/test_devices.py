import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.artifact import load_artifact
from models.artifact.scorer import Scorer
from tests.trainer import distributed_run
from tests.trainer.small_world import SPEC, TASKS, frame
from trainer.training.devices import DeviceError, Devices, open_devices

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """On the same batches, masked unevenly, weights agree; the whole training gives like scores."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    command = [*TORCHRUN, "--nproc-per-node", "2", "-m", "tests.trainer.distributed_run"]
    result = subprocess.run(
        [sys.executable, *command, str(tmp_path / "two")],
        env={**os.environ, "PYTHONPATH": ".", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    distributed_run.main(tmp_path / "one")
    one, two = (load_file(tmp_path / name / "weights") for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-5)
    ids_NC = np.array(frame(500, seed=3)["features"].to_list(), np.int32)
    artifacts = [load_artifact(tmp_path / name / "artifact") for name in ("one", "two")]
    (scores_NT, u_NT), (other_NT, other_u_NT) = (Scorer(a).score(ids_NC) for a in artifacts)
    assert artifacts[0].spec.hash == SPEC.hash
    assert np.abs(scores_NT - other_NT).mean() < 0.002
    assert np.abs(u_NT - other_u_NT).mean() < 0.05 * u_NT.mean()
    for task in TASKS.names:
        found, wanted = (a.manifest.metrics.teacher[task].auc_roc for a in artifacts)
        assert found == pytest.approx(wanted, abs=0.002)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    """Rows would weigh unequally; the error says so."""
    devices = Devices(rank=1, count=3)
    assert devices.share(torch.arange(6)).tolist() == [1, 4]
    with pytest.raises(DeviceError, match="a batch of 8 rows does not divide among 3 processes"):
        devices.share(torch.arange(8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_auto_takes_the_processor_and_cuda_insists() -> None:
    """Without a GPU "auto" computes on the processor, and "cuda" is an error that says why."""
    with open_devices("auto") as devices:
        assert devices == Devices(torch.device("cpu"))
    with pytest.raises(DeviceError, match="needs CUDA device 0, 0 found"), open_devices("cuda"):
        pass
