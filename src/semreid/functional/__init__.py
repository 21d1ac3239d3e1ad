"""Pure, typed maths of person re-identification: everything here is a function of its arguments."""

from semreid.functional.distance import distance_blocks, pairwise_distance
from semreid.functional.losses import batch_hard_triplet, center_loss, label_smoothed_cross_entropy
from semreid.functional.pooling import avg_pool, gem_pool, max_pool, region_pool, region_share
from semreid.functional.ranking import Ranking, SingleShot, rank_distances, rank_features, single_shot_cmc
from semreid.functional.reranking import k_reciprocal_blocks, k_reciprocal_rerank

__all__ = [
    "Ranking",
    "SingleShot",
    "avg_pool",
    "batch_hard_triplet",
    "center_loss",
    "distance_blocks",
    "gem_pool",
    "k_reciprocal_blocks",
    "k_reciprocal_rerank",
    "label_smoothed_cross_entropy",
    "max_pool",
    "pairwise_distance",
    "rank_distances",
    "rank_features",
    "region_pool",
    "region_share",
    "single_shot_cmc",
]
