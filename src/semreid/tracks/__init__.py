"""From videos and what a tracker wrote of them to crops, and from groups of crops to people across cameras."""

from semreid.tracks.boxes import Boxes, read_boxes
from semreid.tracks.choosing import choose, visible_shares
from semreid.tracks.crops import Cut, cut_tracks
from semreid.tracks.linking import Linked, link_tracks
from semreid.tracks.video import Video, open_video

__all__ = [
    "Boxes",
    "Cut",
    "Linked",
    "Video",
    "choose",
    "cut_tracks",
    "link_tracks",
    "open_video",
    "read_boxes",
    "visible_shares",
]
