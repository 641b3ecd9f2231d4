"""Score the bid requests of a file and decide which of them pass.

Run: weir simulate --requests 1000 --jsonl var/requests.jsonl
     python examples/decide.py var/requests.jsonl
"""

import sys
from pathlib import Path

import numpy as np

import weir


def main(file: str) -> None:
    """Print the achieved rate, and how many requests passed or were blocked for which reason."""
    artifact = weir.load_artifact("pretrained:openrtb")
    records = list(weir.read_requests(Path(file)))
    times_N = np.array([record.timestamp for record in records], np.int64)
    values = [record.value for record in records]
    read = weir.ingest(artifact.spec.extractor(), values, times_N, max_bytes=1_000_000)
    scores_NT, uncertainties_NT = weir.Scorer(artifact).score(read.ids_NC)

    policy = weir.Policy(weir.PolicySettings(rate=0.8), artifact.tasks)
    policy.use_evidence(artifact.manifest.auto)
    decisions = policy.decide(read.hashes_N, times_N[read.kept], scores_NT, uncertainties_NT)

    print(f"target {policy.target}, achieved {1 - decisions.passed_N.mean():.4f}")
    for reason in weir.Reason:
        chosen_N = decisions.reason_N == reason
        passed = int((chosen_N & decisions.passed_N).sum())
        print(f"{reason.name:>10}: {passed} passed, {int(chosen_N.sum()) - passed} blocked")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__))
