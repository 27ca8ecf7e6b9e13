"""The scores of a mask (`baselines.md` section 7), per picture and over a set.

Positive means the label. A pixel counts as predicted when its probability is at least 0.5. A name says what
was averaged: a bare name (`iou`, `f1_mean`, `boundary_iou`, …) is the mean over pictures of the picture's own
score; `…_dataset` pools the pixels of all pictures first; `f1_of_means` is the harmonic mean of mean
precision and mean recall, as ABANet's table 2 prints it; `f_max` and `f_mean` are taken on the mean curve.
Dice is another name of F1, and PA (pixel accuracy) of accuracy; mPA and mIoU are the means of the label's and
the background's.

Empty labels:
    label and prediction empty        IoU = F1 = precision = recall = boundary IoU = 1; HD95 = 0
    label empty, prediction not       IoU = F1 = precision = boundary IoU = 0; HD95 = the picture's diagonal;
                                      recall is undefined: NaN, left out of its mean
    prediction empty, label not       IoU = F1 = precision = recall = boundary IoU = 0; HD95 = the diagonal
    F_beta of an empty label          0, as the saliency field's reference code has it
    S-measure of an empty label       1 - mean(probability)
    …_dataset                         the same rules on the pooled pixels
"""

from __future__ import annotations

from baselines.metrics.counts import (
    PixelCounts,
    accuracy,
    count_pixels,
    f1,
    harmonic_mean,
    iou,
    mask_scores,
    precision,
    recall,
)
from baselines.metrics.pictures import (
    METRICS,
    PIXEL_METRICS,
    THRESHOLD,
    ImageScores,
    figures_of_sums,
    score_image,
    score_table,
    summarise,
)
from baselines.metrics.saliency import f_beta_adaptive, f_beta_curve, mean_absolute_error, s_measure
from baselines.metrics.surface import boundary_iou, hd95

__all__ = [
    "METRICS",
    "PIXEL_METRICS",
    "THRESHOLD",
    "ImageScores",
    "PixelCounts",
    "accuracy",
    "boundary_iou",
    "count_pixels",
    "f1",
    "f_beta_adaptive",
    "f_beta_curve",
    "figures_of_sums",
    "harmonic_mean",
    "hd95",
    "iou",
    "mask_scores",
    "mean_absolute_error",
    "precision",
    "recall",
    "s_measure",
    "score_image",
    "score_table",
    "summarise",
]
