"""Last-layer Laplace (Daxberger et al. 2021): a Gaussian over the towers' last weights.

For the last weights w of a task, features f = (hidden units, 1) and scores p, the generalised
Gauss-Newton matrix over the training rows is G = sum p (1 - p) f f', the posterior covariance is
(G + delta I)^-1, and the logit of a request has the variance f' (G + delta I)^-1 f. The prior
precision delta maximises the evidence (MacKay 1992):

    log Z(delta) = const + (d log delta - delta |w|^2 - log det(G + delta I)) / 2.

N requests, T tasks, W tower width, d = W + 1.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.nets.logistic_normal import sigmoid_moments
from models.nets.teacher import TeacherNet
from trainer.uncertainty.lab import Lab, tensors
from trainer.uncertainty.method import Estimator, Float32Array, Ids
from trainer.uncertainty.shared_score import SharedScoreEstimator

BATCH = 8192
PRECISIONS = torch.logspace(-3, 5, 81, dtype=torch.float64)


def laplace(lab: Lab) -> Estimator:
    """Standard deviation of the sigmoid of each task's normal logit, at the mean weights."""
    net = lab.teacher().net
    covariance_Tdd = posterior_covariance(net, *tensors(lab.rows))

    @torch.no_grad()
    def spread(ids_NC: Ids, _mean_NT: Float32Array) -> Float32Array:
        stds = []
        for features_TNd, logits_NT in _features(net, torch.from_numpy(ids_NC)):
            variance_TN = torch.einsum(
                "tnd,tde,tne->tn", features_TNd, covariance_Tdd, features_TNd
            )
            stds.append(sigmoid_moments(logits_NT, variance_TN.T)[1].float())
        std_NT: Float32Array = torch.cat(stds).numpy()
        return std_NT

    return SharedScoreEstimator(lab, spread)


@torch.no_grad()
def posterior_covariance(net: TeacherNet, ids_NC: Tensor, targets_NT: Tensor) -> Tensor:
    """Covariance of every task's last weights and bias, (T, d, d), float64."""
    weights_Td = torch.cat([net.tower_out.weight_EIO, net.tower_out.bias_E1O], dim=1).squeeze(2)
    newton_Tdd = torch.zeros(*weights_Td.shape, weights_Td.shape[1], dtype=torch.float64)
    known = torch.split(~targets_NT.isnan(), BATCH)
    for (features_TNd, logits_NT), known_NT in zip(_features(net, ids_NC), known, strict=True):
        noise_NT = logits_NT.sigmoid() * (1 - logits_NT.sigmoid()) * known_NT
        newton_Tdd += torch.einsum("nt,tnd,tne->tde", noise_NT, features_TNd, features_TNd)
    precision_T = torch.stack(
        [best_precision(*task) for task in zip(newton_Tdd, weights_Td.double(), strict=True)]
    )
    identity_dd = torch.eye(weights_Td.shape[1], dtype=torch.float64)
    covariance_Tdd: Tensor = torch.linalg.inv(newton_Tdd + precision_T.view(-1, 1, 1) * identity_dd)
    return covariance_Tdd


def best_precision(newton_dd: Tensor, weights_d: Tensor) -> Tensor:
    """The prior precision with the greatest evidence among those tried, a scalar."""
    eigenvalues_d = torch.linalg.eigvalsh(newton_dd).clamp(min=0)
    evidence_P = (
        len(weights_d) * PRECISIONS.log()
        - PRECISIONS * weights_d.square().sum()
        - (eigenvalues_d + PRECISIONS.unsqueeze(1)).log().sum(1)
    )
    return PRECISIONS[evidence_P.argmax()]


def _features(net: TeacherNet, ids_NC: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Per batch the last layer's inputs with ones appended, (T, N, d), and the logits, float64."""
    for ids_BC in torch.split(ids_NC, BATCH):
        hidden_TNW = net.hidden(ids_BC)
        logits_NT = net.tower_out(hidden_TNW).squeeze(2).T
        one_TN1 = torch.ones_like(hidden_TNW[:, :, :1])
        yield torch.cat([hidden_TNW, one_TN1], dim=2).double(), logits_NT.double()
