"""Boxes of trackers: to embeddings, and from videos to crops and on to people across cameras."""

from semreid.tracking.boxes import Boxes, read_boxes
from semreid.tracking.choosing import choose, visible_shares, with_meetings
from semreid.tracking.crops import Cut, cut_tracks
from semreid.tracking.embedding import embed_boxes
from semreid.tracking.linking import Linked, link_tracks
from semreid.tracking.video import Video, open_video

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
    "with_meetings",
]
