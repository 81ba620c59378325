"""Random changes of training slices, sampled first and applied second.

`Change` says all that is done to one slice, so that a preview shows exactly what training sees.
All spatial changes are composed into one sampling grid, and image and labels are sampled once,
batched, on the training device. The kinds of Ye et al. 2021 (doi:10.1101/2021.05.15.444315) have
the ranges of that paper's toolbox.

`spatial` moves pixels; `intensity`, `sharpness`, `noise` and `artefacts` change the values of
images alone. Those act on (C, rows, columns) and on (C, slices, rows, columns) alike; what knows
two dimensions only is the homography and the grid that it is composed in.
"""

from DeepTranslateLib.engine.augmentation.change import Change, apply_changes, sample_change
from DeepTranslateLib.engine.augmentation.spatial import perspective

__all__ = ["Change", "apply_changes", "perspective", "sample_change"]
