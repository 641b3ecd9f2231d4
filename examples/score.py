"""Load an artifact and score the bid requests of a file.

Run: weir simulate --requests 1000 --jsonl var/requests.jsonl
     python examples/score.py var/requests.jsonl
"""

import sys
from pathlib import Path

import numpy as np

import weir


def main(file: str) -> None:
    """Print mean score and mean uncertainty of each task."""
    artifact = weir.load_artifact("pretrained:openrtb")
    scorer = weir.Scorer(artifact)
    records = list(weir.read_requests(Path(file)))
    times_N = np.array([record.timestamp for record in records], np.int64)
    read = weir.ingest(
        artifact.spec.extractor(),
        [record.value for record in records],
        times_N,
        max_bytes=1_000_000,
    )
    scores_NT, uncertainties_NT = scorer.score(read.ids_NC)
    print(f"{artifact.manifest.version}: {len(read.request_ids)} scored, {len(read.rejects)} not")
    for column, task in enumerate(artifact.tasks):
        score, uncertainty = scores_NT[:, column].mean(), uncertainties_NT[:, column].mean()
        print(f"{task.name:>8}: score {score:.4f}, uncertainty {uncertainty:.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__))
