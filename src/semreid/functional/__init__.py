"""Pure, typed maths of person re-identification: everything here is a function of its arguments."""

from semreid.functional.alignment import aligned_triplet, next_person_triplets, random_triplets, texture_l1
from semreid.functional.calibration import Calibration, Verdict, calibrate
from semreid.functional.cameras import center_by_camera
from semreid.functional.distance import distance_blocks, pairwise_distance
from semreid.functional.gradcam import grad_cam, hires_cam
from semreid.functional.grouping import (
    GroupingScores,
    GroupingSigns,
    Said,
    group_features,
    grouping_scores,
    grouping_signs,
    jaccard_graph,
    linkage_groups,
    similarity_to_groups,
    simultaneous_tracks,
    stability,
)
from semreid.functional.identification import identify_open_set
from semreid.functional.losses import (
    batch_contrast,
    batch_hard_triplet,
    center_loss,
    class_balanced_cross_entropy,
    label_smoothed_cross_entropy,
    semantic_diversity,
    soft_overlap,
)
from semreid.functional.pairs import (
    equal_error_rate,
    jackknife_rate,
    operating_points,
    pair_scores,
    roc_curve,
    threshold_at_far,
)
from semreid.functional.pooling import avg_pool, gem_pool, max_pool, region_pool, region_share, resize_labels
from semreid.functional.proxies import camera_contrast, group_proxies, moved_proxies, proxy_contrast
from semreid.functional.ranking import Ranking, SingleShot, rank_distances, rank_features, single_shot_cmc
from semreid.functional.regions import region_distance
from semreid.functional.reranking import k_reciprocal_blocks, k_reciprocal_rerank

__all__ = [
    "Calibration",
    "GroupingScores",
    "GroupingSigns",
    "Ranking",
    "Said",
    "SingleShot",
    "Verdict",
    "aligned_triplet",
    "avg_pool",
    "batch_contrast",
    "batch_hard_triplet",
    "calibrate",
    "camera_contrast",
    "center_by_camera",
    "center_loss",
    "class_balanced_cross_entropy",
    "distance_blocks",
    "equal_error_rate",
    "gem_pool",
    "grad_cam",
    "group_features",
    "group_proxies",
    "grouping_scores",
    "grouping_signs",
    "hires_cam",
    "identify_open_set",
    "jaccard_graph",
    "jackknife_rate",
    "k_reciprocal_blocks",
    "k_reciprocal_rerank",
    "label_smoothed_cross_entropy",
    "linkage_groups",
    "max_pool",
    "moved_proxies",
    "next_person_triplets",
    "operating_points",
    "pair_scores",
    "pairwise_distance",
    "proxy_contrast",
    "random_triplets",
    "rank_distances",
    "rank_features",
    "region_distance",
    "region_pool",
    "region_share",
    "resize_labels",
    "roc_curve",
    "semantic_diversity",
    "similarity_to_groups",
    "simultaneous_tracks",
    "single_shot_cmc",
    "soft_overlap",
    "stability",
    "texture_l1",
    "threshold_at_far",
]
