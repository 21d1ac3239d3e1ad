"""Pure, typed maths of person re-identification: everything here is a function of its arguments."""

from semreid.functional.distance import distance_blocks, pairwise_distance
from semreid.functional.losses import batch_hard_triplet, center_loss, label_smoothed_cross_entropy
from semreid.functional.pooling import avg_pool, gem_pool, max_pool, region_pool, region_share

__all__ = [
    "avg_pool",
    "batch_hard_triplet",
    "center_loss",
    "distance_blocks",
    "gem_pool",
    "label_smoothed_cross_entropy",
    "max_pool",
    "pairwise_distance",
    "region_pool",
    "region_share",
]
