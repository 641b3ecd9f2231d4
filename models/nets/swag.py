"""SWAG: a Gaussian over the weights from the end of training (Maddox et al. 2019; DAUM, eq. 29).

    w = mean + sqrt(scale) (diag^(1/2) z1 / sqrt(2) + D z2 / sqrt(2 (K - 1)))

``mean`` and ``diag`` are the moments of all collected snapshots, the K columns of D are the last
snapshots' deviations from the running mean at their time. (DAUM's Algorithm 1 leaves out K - 1 and
uses another letter for each normal draw; equation 29 is the one that SWAG defines.)

Q weights in all, M samples of them, K deviations, N requests, T tasks.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

Weights = dict[str, Tensor]


class SwagPosterior:
    """Moments of a weight trajectory, and samples from the Gaussian that they define.

    Args:
        rank: Most deviations to keep (K).
        scale: Factor on the covariance; 1 is SWAG's own.

    Raises:
        ValueError: If the rank cannot give a covariance.
    """

    def __init__(self, rank: int, scale: float = 1.0) -> None:
        if rank < 2:
            raise ValueError(f"swag rank: {rank} deviations give no covariance; use at least 2")
        self.scale = scale
        self.count = 0
        self._shapes: dict[str, torch.Size] = {}
        self._mean_Q = torch.zeros(0, dtype=torch.float64)
        self._squares_Q = torch.zeros(0, dtype=torch.float64)
        self._deviations: deque[Tensor] = deque(maxlen=rank)

    def collect(self, weights: Mapping[str, Tensor]) -> None:
        """Take a snapshot of the weights into the moments, in float64 (Welford's update).

        Raises:
            ValueError: If names or shapes differ from those of the first snapshot.
        """
        shapes = {name: weight.shape for name, weight in weights.items()}
        flat_Q = torch.cat([weight.detach().double().flatten() for weight in weights.values()])
        if not self.count:
            self._shapes = shapes
            self._mean_Q, self._squares_Q = torch.zeros_like(flat_Q), torch.zeros_like(flat_Q)
        elif shapes != self._shapes:
            raise ValueError("swag: a snapshot must have the names and shapes of the first one")
        self.count += 1
        before_Q = flat_Q - self._mean_Q
        self._mean_Q += before_Q / self.count
        after_Q = flat_Q - self._mean_Q
        self._squares_Q += before_Q * after_Q
        self._deviations.append(after_Q.float())

    def state_dict(self) -> Weights:
        """Everything collected so far; empty before the first snapshot."""
        if not self.count:
            return {}
        shapes = json.dumps({name: list(shape) for name, shape in self._shapes.items()})
        return {
            "shapes": torch.tensor(list(shapes.encode()), dtype=torch.uint8),
            "count": torch.tensor(self.count),
            "mean_Q": self._mean_Q,
            "squares_Q": self._squares_Q,
            "deviations_KQ": torch.stack(list(self._deviations)),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        if not state:
            return
        shapes = json.loads(bytes(state["shapes"].tolist()))
        self._shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self.count = int(state["count"])
        self._mean_Q, self._squares_Q = state["mean_Q"].clone(), state["squares_Q"].clone()
        self._deviations.extend(state["deviations_KQ"])

    @property
    def mean_Q(self) -> Tensor:
        """Running mean of the snapshots, float64."""
        return self._mean_Q

    @property
    def diagonal_Q(self) -> Tensor:
        """Variance of every weight over the snapshots, float64."""
        return self._squares_Q / max(self.count, 1)

    @property
    def deviations_QK(self) -> Tensor:
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
        deviations_QK = self.deviations_QK
        rank = deviations_QK.shape[1]
        diagonal_Q = (self.diagonal_Q * (self.scale / 2)).sqrt().float()
        low_rank_scale = (self.scale / (2 * (rank - 1))) ** 0.5
        samples = []
        for _ in range(count):
            z1_Q = torch.randn(len(diagonal_Q), generator=generator)
            z2_K = torch.randn(rank, generator=generator)
            noise_Q = diagonal_Q * z1_Q + low_rank_scale * (deviations_QK @ z2_K)
            samples.append(self._unflatten(self._mean_Q + noise_Q))
        return samples

    def _unflatten(self, flat_Q: Tensor) -> Weights:
        sizes = [shape.numel() for shape in self._shapes.values()]
        pieces = torch.split(flat_Q.float(), sizes)
        return {
            name: piece.view(shape)
            for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }


@torch.no_grad()
def predict_moments(
    net: nn.Module,
    samples: Sequence[Weights],
    ids_NC: Tensor,
    batch: int = 8192,
    on_batch: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the probabilities over M weight sets (DAUM, Algorithm 1).

    Args:
        net: Gives logits of shape (N, T) for ids; its own weights are not used.
        samples: The M weight sets; with one, the deviation is 0.
        ids_NC: Feature ids.
        batch: Rows per pass.
        on_batch: Told the number of rows after each pass.

    Returns:
        ``mean_NT`` and ``std_NT`` (divisor M), float32.
    """
    means, stds = [], []
    for ids_BC in torch.split(ids_NC, batch):
        probabilities_MBT = torch.stack(
            [functional_call(net, sample, (ids_BC,)).sigmoid() for sample in samples]
        )
        means.append(probabilities_MBT.mean(0))
        stds.append(probabilities_MBT.std(0, correction=0))
        on_batch(len(ids_BC))
    return torch.cat(means), torch.cat(stds)
