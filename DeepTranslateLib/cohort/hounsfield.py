"""Whether the numbers of a CT can be Hounsfield units, and what they look like if not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# What scanners pad with outside the field of view (-2000, -3024, ...) is no tissue.
_PADDING_BELOW = -1500
_SAMPLES = 2_000_000


def why_not_hounsfield(voxels: npt.NDArray[np.generic]) -> tuple[str, str] | None:
    """Return what is wrong and what to do about it; None if the numbers can be HU.

    Air lies near -1000 HU, fat near -100 and muscle near 50. A crop without any air is accepted
    as long as it reaches below -50, as fat does.

    Args:
        voxels: (K, J, I) finite numbers.
    """
    step = max(1, round((voxels.size / _SAMPLES) ** (1 / 3)))
    sample = voxels[:: min(step, voxels.shape[0]), ::step, ::step].astype(np.float64).ravel()
    sample = sample[sample > _PADDING_BELOW]
    if not sample.size:
        return "all voxels are below -1500.", "Convert the DICOM series again."
    low, high = (float(value) for value in np.percentile(sample, (0.1, 99.9)))
    if _share(sample, _PADDING_BELOW, -200) > 1e-4:
        return None
    # Water at 1000 and air at 0, with a valley between them that bone and marrow do not leave.
    at_water = _share(sample, 850, 1250)
    if at_water > 0.05 and at_water > _share(sample, 250, 850):
        return (
            f"air lies near 0 and soft tissue near 1000 (values {low:.0f} to {high:.0f}); it looks "
            "as if the rescale intercept was not applied.",
            "Add the intercept, mostly -1024, or convert the DICOM series again.",
        )
    if low < -50:
        return None
    span = f"values run from {low:.4g} to {high:.4g}, and CT has air near -1000 and fat near -100"
    if high <= 255.5:
        return (
            f"{span}; it looks like a picture made with a display window.",
            "Export the CT anew, from DICOM, without a window or scaling.",
        )
    return f"{span}.", "Check that this is a CT, and export it anew from DICOM."


def _share(sample: npt.NDArray[np.float64], low: float, high: float) -> float:
    return float(np.mean((sample >= low) & (sample < high)))
