"""Galleries: crops that were seen, kept to be searched."""

from semreid.gallery.entry import Entry, Filter, Match
from semreid.gallery.gallery import Gallery, Stats
from semreid.gallery.store import Written

__all__ = ["Entry", "Filter", "Gallery", "Match", "Stats", "Written"]
