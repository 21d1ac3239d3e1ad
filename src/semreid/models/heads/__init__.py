"""Heads: one file each, one contract (see :class:`semreid.models.heads.base.Head`)."""

from semreid.models.heads.base import Annotation, Head
from semreid.models.heads.identity import Identity

__all__ = ["Annotation", "Head", "Identity"]
