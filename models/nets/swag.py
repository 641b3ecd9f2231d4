"""SWAG: a Gaussian over the weights from the end of training (Maddox et al. 2019; DAUM, eq. 29).

    w = mean + sqrt(scale) (diag^(1/2) z1 / sqrt(2) + D z2 / sqrt(2 (K - 1)))

``mean`` and ``diag`` are the moments of all collected snapshots, the K columns of D are the last
snapshots' deviations from the running mean at their time. (DAUM's Algorithm 1 leaves out K - 1 and
uses another letter for each normal draw; equation 29 is the one that SWAG defines.)

It works for any net without running statistics of the data. Layer normalisation has none; those of
a batch normalisation are valid for one weight set only, so :func:`refuse_statistics` rejects such
nets.

Q weights in total, of which the first P are sampled, M samples, K deviations.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from models.nets.weight_sets import Weights


def refuse_statistics(net: nn.Module) -> None:
    """Check that a net has no running statistics, so that weights can be averaged and sampled.

    Raises:
        ValueError: If a module keeps running statistics of the data.
    """
    for name, buffer in net.named_buffers():
        if name.rpartition(".")[2] in ("running_mean", "running_var") and buffer is not None:
            raise ValueError(
                f"swag: {name} holds statistics that fit one weight set only; use a layer "
                "normalisation, or recompute them for every set"
            )


class SwagPosterior:
    """Moments of a weight trajectory, and samples from the Gaussian that they define.

    Args:
        rank: Maximum number of deviations (K).
        scale: Factor of the covariance; 1 in the paper.
        takes_part: Whether the weights of a name are sampled; others have their mean in every
            sample.

    Raises:
        ValueError: If the rank is too small for a covariance.
    """

    def __init__(
        self,
        rank: int,
        scale: float = 1.0,
        takes_part: Callable[[str], bool] = lambda _: True,
    ) -> None:
        if rank < 2:
            raise ValueError(f"swag rank: {rank} deviations give no covariance; use at least 2")
        self.scale = scale
        self.count = 0
        self._takes_part = takes_part
        self._shapes: dict[str, torch.Size] = {}
        self._mean_Q = torch.zeros(0, dtype=torch.float64)
        self._squares_P = torch.zeros(0, dtype=torch.float64)
        self._deviations: deque[Tensor] = deque(maxlen=rank)

    def collect(self, weights: Mapping[str, Tensor]) -> None:
        """Add a snapshot of the weights to the moments, in float64 (Welford's update).

        Raises:
            ValueError: If names or shapes differ from those of the first snapshot.
        """
        names = sorted(weights, key=lambda name: not self._takes_part(name))
        shapes = {name: weights[name].shape for name in names}
        flat_Q = torch.cat([weights[name].detach().double().flatten() for name in names])
        if not self.count:
            self._shapes = shapes
            spread = sum(shapes[name].numel() for name in names if self._takes_part(name))
            self._mean_Q, self._squares_P = torch.zeros_like(flat_Q), flat_Q.new_zeros(spread)
        elif shapes != self._shapes:
            raise ValueError("swag: a snapshot must have the names and shapes of the first one")
        self.count += 1
        before_Q = flat_Q - self._mean_Q
        self._mean_Q += before_Q / self.count
        spread = len(self._squares_P)
        after_P = flat_Q[:spread] - self._mean_Q[:spread]
        self._squares_P += before_Q[:spread] * after_P
        self._deviations.append(after_P.float())

    def state_dict(self) -> Weights:
        """The state of the posterior; empty before the first snapshot."""
        if not self.count:
            return {}
        shapes = json.dumps({name: list(shape) for name, shape in self._shapes.items()})
        return {
            "shapes": torch.tensor(list(shapes.encode()), dtype=torch.uint8),
            "count": torch.tensor(self.count),
            "mean_Q": self._mean_Q,
            "squares_P": self._squares_P,
            "deviations_KP": torch.stack(list(self._deviations)),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that :meth:`state_dict` returned."""
        if not state:
            return
        shapes = json.loads(bytes(state["shapes"].tolist()))
        self._shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self.count = int(state["count"])
        self._mean_Q, self._squares_P = state["mean_Q"].clone(), state["squares_P"].clone()
        self._deviations.extend(state["deviations_KP"])

    @property
    def mean_Q(self) -> Tensor:
        """Running mean of the snapshots, float64; the sampled weights come first."""
        return self._mean_Q

    @property
    def diagonal_P(self) -> Tensor:
        """Variance of the sampled weights over the snapshots, float64."""
        return self._squares_P / max(self.count, 1)

    @property
    def deviations_PK(self) -> Tensor:
        """The last K snapshots minus the running mean at their time."""
        return torch.stack(list(self._deviations), dim=1)

    def mean_weights(self) -> Weights:
        """The average weights (SWA)."""
        return self._unflatten(self._mean_Q)

    def sample(self, count: int, seed: int) -> list[Weights]:
        """Draw weight sets by equation 29.

        Args:
            count: M.
            seed: The same seed gives the same sets.

        Raises:
            ValueError: If fewer than two snapshots were collected.
        """
        if self.count < 2:
            raise ValueError(f"swag: {self.count} snapshots give no covariance; collect at least 2")
        generator = torch.Generator().manual_seed(seed)
        deviations_PK = self.deviations_PK
        spread, rank = deviations_PK.shape
        diagonal_P = (self.diagonal_P * (self.scale / 2)).sqrt().float()
        low_rank_scale = (self.scale / (2 * (rank - 1))) ** 0.5
        mean = self.mean_weights()
        samples = []
        for _ in range(count):
            z1_P = torch.randn(spread, generator=generator)
            z2_K = torch.randn(rank, generator=generator)
            noise_P = diagonal_P * z1_P + low_rank_scale * (deviations_PK @ z2_K)
            samples.append(mean | self._unflatten(self._mean_Q[:spread] + noise_P))
        return samples

    def _unflatten(self, flat_Q: Tensor) -> Weights:
        """Weights by name; names for which ``flat_Q`` is too short are left out."""
        weights: Weights = {}
        for name, shape in self._shapes.items():
            size = shape.numel()
            if len(flat_Q) < size:
                break
            weights[name], flat_Q = flat_Q[:size].float().view(shape), flat_Q[size:]
        return weights
