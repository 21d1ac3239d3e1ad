"""Heads: one file each, one contract (see :class:`semreid.models.heads.base.Head`)."""

from semreid.models.heads.base import Head
from semreid.models.heads.identity import Identity

__all__ = ["Head", "Identity"]
