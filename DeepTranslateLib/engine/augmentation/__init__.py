"""Random changes of training slices, sampled first and applied second.

`Change` says all that is done to one slice, so that a preview shows exactly what training sees.
All spatial changes are composed into one sampling grid, and image and labels are sampled once,
batched, on the training device. The kinds of Ye et al. 2021 (doi:10.1101/2021.05.15.444315) have
the ranges of that paper's toolbox.

`spatial` moves pixels of slices, `volumetric` voxels of patches, both in the grid of `spatial`;
`intensity`, `sharpness`, `noise` and `artefacts` change the values of images alone, in (C, rows,
columns) and (C, slices, rows, columns) alike.
"""

from DeepTranslateLib.engine.augmentation.change import (
    Change,
    apply_changes,
    apply_to_images,
    sample_change,
    sample_patch_change,
)
from DeepTranslateLib.engine.augmentation.patchshape import PatchShape
from DeepTranslateLib.engine.augmentation.spatial import perspective

__all__ = [
    "Change",
    "PatchShape",
    "apply_changes",
    "apply_to_images",
    "perspective",
    "sample_change",
    "sample_patch_change",
]
