"""Features: from bid requests to ids of one embedding table.

A spec (a TOML file) lists the features; its extractor turns a batch of requests into an int32
array. Trainer and worker share both, so there is no skew between training and serving. The kinds of
features are in :mod:`models.features.kinds`.
"""

from models.features.extractor import Extractor
from models.features.feature import Feature, SpecError
from models.features.spec import FeatureSpec

__all__ = ["Extractor", "Feature", "FeatureSpec", "SpecError"]
