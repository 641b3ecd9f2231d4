"""Load a feature spec and extract the features of bid requests.

Run: python examples/extract.py
"""

import numpy as np

import weir

REQUESTS = [
    {
        "id": "r1",
        "imp": [{"banner": {"w": 300, "h": 250}, "bidfloor": 0.4}],
        "site": {"domain": "news.example", "cat": ["IAB12"]},
        "device": {"ua": "Mozilla/5.0", "geo": {"country": "DEU"}},
    },
    {"id": "r2", "imp": [{"video": {"w": 640, "h": 360}}], "app": {"bundle": "com.example.game"}},
]
RECEIVED_MS = [1_767_225_600_000, 1_767_225_600_250]


def main() -> None:
    """Print what the spec is, and the ids of a few features of each request."""
    spec = weir.FeatureSpec.load("openrtb")
    print(f"{spec.source}: {len(spec.features)} features, {spec.columns} columns, {spec.rows} rows")
    ids_NC = spec.extractor().extract(REQUESTS, np.array(RECEIVED_MS, np.int64))
    for feature in spec.features[:5]:
        columns = slice(feature.column, feature.column + feature.slots)
        print(f"{feature.name:>20}: {ids_NC[:, columns].tolist()}")


if __name__ == "__main__":
    main()
