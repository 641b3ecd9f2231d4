"""Read an example store: what the trainer keeps, and what `weir simulate` writes.

Run: weir simulate --requests 1000 --examples var/examples.parquet
     python examples/read_store.py var/examples.parquet
"""

import sys

import numpy as np

import weir


def main(store: str) -> None:
    """Print how many rows there are, and the label rate of each task."""
    spec, tasks = weir.FeatureSpec.load("openrtb"), weir.DEFAULT_TASKS
    examples = weir.read_examples(store, spec, tasks)
    print(f"{len(examples)} examples of {spec.columns} columns")
    targets_NT = examples.targets(tasks)
    for column, task in enumerate(tasks):
        labels_N = targets_NT[:, column]
        known_N = labels_N[~np.isnan(labels_N)]
        print(f"{task.name:>8}: {len(known_N)} labels, {known_N.mean():.4f} positive")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__))
