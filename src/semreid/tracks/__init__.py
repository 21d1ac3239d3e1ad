"""Boxes of trackers: to embeddings, and from videos to crops and on to people across cameras."""

from semreid.tracks.boxes import Boxes, read_boxes
from semreid.tracks.choosing import choose, visible_shares
from semreid.tracks.crops import Cut, cut_tracks
from semreid.tracks.embedding import embed_boxes
from semreid.tracks.linking import Linked, link_tracks
from semreid.tracks.video import Video, open_video

__all__ = [
    "Boxes",
    "Cut",
    "Linked",
    "Video",
    "choose",
    "cut_tracks",
    "embed_boxes",
    "link_tracks",
    "open_video",
    "read_boxes",
    "visible_shares",
]
