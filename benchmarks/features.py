"""Cost of reading a request: from its bytes to its id and its features, with the OpenRTB spec.

Run from the repository root: ``PYTHONPATH=. python benchmarks/features.py``. Prints medians of
rounds that alternate between batch sizes and ways: orjson alone, for comparison; decoding and
extracting in Python; the compiled scanner. Ids are long-tailed and a tenth of the users is unique,
so that caches see misses as they do in traffic.
"""

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import orjson

from models.features import Extractor, FeatureSpec
from models.features.intake import ingest
from models.features.scanner import NATIVE

BATCHES = (16, 64, 128, 512)
REQUESTS = 5120
ROUNDS = 7


def _tail(rng: random.Random, prefix: str, alpha: float) -> str:
    return f"{prefix}{int(rng.paretovariate(alpha)) % 100_000}"


def _request(rng: random.Random) -> dict[str, Any]:
    """One bid request with every field of the OpenRTB spec."""
    source = _source(rng)
    impression = _impression(rng)
    user_number = int(rng.paretovariate(0.5)) if rng.random() < 0.9 else rng.getrandbits(48)
    return {
        "id": f"{rng.getrandbits(128):032x}",
        "at": 2,
        "tmax": rng.choice([100, 120, 150]),
        "cur": ["USD"],
        "bcat": ["IAB25", "IAB26", "IAB7-39"],
        "imp": [impression],
        **source,
        "device": _device(rng),
        "user": _user(rng, user_number),
        "regs": {"coppa": 0, "gdpr": 1},
        "ext": {"ts": 1_455_000_000_000 + rng.randrange(10**9)},
    }


def _source(rng: random.Random) -> dict[str, Any]:
    """A site or an app, half of the time each."""
    site = {
        "id": _tail(rng, "s", 0.7),
        "domain": _tail(rng, "news-", 0.7) + ".example.com",
        "cat": rng.sample(["IAB1", "IAB2-3", "IAB9", "IAB12", "IAB19"], 2),
        "mobile": rng.randrange(2),
        "publisher": {"id": _tail(rng, "pub", 0.8)},
    }
    app = {
        "bundle": "com.example." + _tail(rng, "app", 0.7),
        "cat": ["IAB9"],
        "publisher": {"id": _tail(rng, "pub", 0.8)},
    }
    return {"site": site} if rng.random() < 0.5 else {"app": app}


def _impression(rng: random.Random) -> dict[str, Any]:
    """Four banners to one video."""
    banner = {
        "w": rng.choice([300, 320, 728, 970]),
        "h": rng.choice([50, 90, 250]),
        "pos": rng.randrange(8),
        "api": [3, 5],
        "btype": [4],
        "format": [{"w": 300, "h": 250}, {"w": 320, "h": 50}],
    }
    video = {"minduration": 5, "maxduration": 30, "protocols": [2, 3, 5], "plcmt": 1, "skip": 1}
    return {
        "id": "1",
        "tagid": _tail(rng, "t", 0.6),
        "bidfloor": round(rng.expovariate(1.0), 2),
        "bidfloorcur": "USD",
        "secure": 1,
        **({"banner": banner} if rng.random() < 0.8 else {"video": video}),
    }


def _device(rng: random.Random) -> dict[str, Any]:
    return {
        "ua": "Mozilla/5.0 (Linux; Android 14; " + _tail(rng, "SM-", 0.8) + ") Mobile Safari",
        "make": rng.choice(["Samsung", "Apple", "Xiaomi"]),
        "model": _tail(rng, "m", 0.8),
        "os": rng.choice(["Android", "iOS"]),
        "osv": rng.choice(["14", "15.2", "16"]),
        "devicetype": rng.randint(1, 7),
        "connectiontype": rng.randrange(8),
        "language": rng.choice(["en", "de", "zh"]),
        "w": rng.choice([390, 412, 1080]),
        "h": rng.choice([844, 915, 2340]),
        "lmt": 0,
        "ifa": f"{rng.getrandbits(128):032x}",
        "geo": {
            "country": rng.choice(["DEU", "USA", "CHN", "FRA"]),
            "region": _tail(rng, "r", 0.9),
            "city": _tail(rng, "c", 0.7),
            "zip": _tail(rng, "z", 0.7),
            "lat": round(rng.uniform(-50, 60), 4),
            "lon": round(rng.uniform(-170, 170), 4),
            "utcoffset": rng.choice([0, 60, 480]),
        },
    }


def _user(rng: random.Random, number: int) -> dict[str, Any]:
    counts = ["impressions_1d", "impressions_7d", "impressions_30d", "clicks_7d", "clicks_30d"]
    counts += ["visits_7d", "visits_30d", "carts_7d", "orders_30d", "session_depth"]
    rates = ("ctr_user", "ctr_site", "ctr_tag", "cvr_user", "cart_rate_user")
    since = ("sec_since_impression", "sec_since_click", "sec_since_visit")
    return {
        "id": f"user-{number}",
        "yob": rng.randint(1940, 2010),
        "gender": rng.choice("MF"),
        "data": [{"id": "d", "segment": [{"id": _tail(rng, "g", 0.8)} for _ in range(2)]}],
        "ext": {
            "behavior": {
                **{name: int(rng.paretovariate(0.8)) for name in counts},
                **{name: round(rng.betavariate(2, 40), 4) for name in rates},
                **{name: int(rng.expovariate(1e-5)) for name in since},
            }
        },
    }


def _measure(batches: list[list[bytes]], read: Callable[[list[bytes]], object]) -> float:
    """Microseconds of CPU per request."""
    started = time.thread_time()
    for batch in batches:
        read(batch)
    return (time.thread_time() - started) / REQUESTS * 1e6


def main() -> None:
    """Measure and print, with the garbage collector tuned as in a worker."""
    gc.set_threshold(200_000, 20, 100)
    rng = random.Random(1)
    spec = FeatureSpec.load("openrtb")
    values = [orjson.dumps(_request(rng)) for _ in range(REQUESTS)]
    ways: dict[str, Callable[[list[bytes]], object]] = {
        "orjson alone": lambda batch: [orjson.loads(value) for value in batch]
    }
    for name, native in (("python", False), ("compiled", True))[: 1 + NATIVE]:
        extractor = Extractor(spec.features, native=native)
        ways[name] = partial(_ingest, extractor)
        ways[name](values)
    rounds: dict[tuple[int, str], list[float]] = {(n, way): [] for n in BATCHES for way in ways}
    for _ in range(ROUNDS):
        for (size, way), times in rounds.items():
            batches = [values[start : start + size] for start in range(0, REQUESTS, size)]
            times.append(_measure(batches, ways[way]))
    mean = sum(map(len, values)) / REQUESTS
    lines = [f"{mean:.0f} bytes, {len(spec.features)} features; us of CPU per request, medians:"]
    for size in BATCHES:
        medians = [f"{way} {statistics.median(rounds[size, way]):6.2f}" for way in ways]
        lines.append(f"batch {size:4d}: {', '.join(medians)}")
    sys.stdout.write("\n".join(lines) + "\n")


def _ingest(extractor: Extractor, batch: list[bytes]) -> object:
    return ingest(extractor, batch, np.full(len(batch), -1), 1 << 20)


if __name__ == "__main__":
    main()
