"""The teacher's weights, kept from one training as the start of the next.

A safetensors file with the mean weights, and in its metadata what they fit: feature spec, tasks and
the configuration of the net. Nothing is unpickled.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from models.process.atomic import write_atomically

logger = logging.getLogger(__name__)

Identity = Mapping[str, str]


def keep_weights(path: Path, net: nn.Module, identity: Identity) -> None:
    """Write the weights of a net, in place of the file that is there."""
    weights = {name: weight.detach().cpu().contiguous() for name, weight in _weights(net).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(weights, metadata=dict(identity)))


def start_from(path: Path, net: nn.Module, identity: Identity) -> bool:
    """Load kept weights into a net; False, with a line in the log, if they do not fit it."""
    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except FileNotFoundError:
        logger.info("%s: not there yet; the teacher starts from scratch", path)
        return False
    except (OSError, SafetensorError) as error:
        logger.warning("%s: %s; the teacher starts from scratch", path, error)
        return False
    other = [name for name in identity if found.get(name) != identity[name]]
    fault = f"{', '.join(other)} changed" if other else _misfit(weights, _weights(net))
    if fault:
        logger.warning("%s: %s; the teacher starts from scratch", path, fault)
        return False
    net.load_state_dict(weights)
    logger.info("%s: the teacher starts from the weights of the last one", path)
    return True


def _weights(net: nn.Module) -> dict[str, Tensor]:
    return dict(net.state_dict())


def _misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What is wrong with weights; empty if they fit."""
    for name, weight in wanted.items():
        if name not in found or found[name].shape != weight.shape:
            return f"{name} does not fit"
        if not torch.isfinite(found[name]).all():
            return f"{name} is not finite"
    extra = sorted(found.keys() - wanted.keys())
    return f"{extra[0]} is unknown" if extra else ""
