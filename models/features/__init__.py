"""Features: from a decoded bid request to the ids of one embedding table.

A spec (a TOML file) says which features there are, its extractor turns a batch of requests into
an int32 array. Trainer and worker share both, so there is no skew between learning and serving.
"""

from models.features.extractor import Extractor
from models.features.feature import Feature, SpecError
from models.features.spec import FeatureSpec

__all__ = ["Extractor", "Feature", "FeatureSpec", "SpecError"]
