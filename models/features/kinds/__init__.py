"""The kinds of features, one module each; :data:`KINDS` is the registry of all of them.

To add a kind, write its module and add its class to the tuple below.
"""

from typing import Final

from models.features.feature import Feature
from models.features.kinds.categorical import CategoricalFeature
from models.features.kinds.count import CountFeature
from models.features.kinds.cross import CrossFeature
from models.features.kinds.numeric import NumericFeature
from models.features.kinds.tags import TagsFeature
from models.features.kinds.time import TimeFeature

KINDS: Final[dict[str, type[Feature]]] = {
    feature.kind: feature
    for feature in (
        CategoricalFeature,
        NumericFeature,
        TagsFeature,
        CountFeature,
        TimeFeature,
        CrossFeature,
    )
}
