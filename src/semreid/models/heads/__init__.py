"""Heads: one file each, one contract (see :class:`semreid.models.heads.base.Head`)."""

from semreid.models.heads.attributes import Attributes
from semreid.models.heads.base import REGIONS, Head, Supervision
from semreid.models.heads.fusion import Fusion
from semreid.models.heads.identity import Identity
from semreid.models.heads.multistage import Multistage
from semreid.models.heads.parser import Parser
from semreid.models.heads.parsing import Parsing
from semreid.models.heads.regularization import Regularization
from semreid.models.heads.texture import Texture

__all__ = [
    "REGIONS",
    "Attributes",
    "Fusion",
    "Head",
    "Identity",
    "Multistage",
    "Parser",
    "Parsing",
    "Regularization",
    "Supervision",
    "Texture",
]
