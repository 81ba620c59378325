"""`mr-t1-to-t2` on seven brains of four scanners' kinds of images, leave one out.

Three are whole heads with slices 3 mm apart, four are extracted brains of 1 mm, of which every
third slice teaches and is measured. The mask is the head, or the brain where the rest is padding.
T2 has no unit: values are parts of the median of the patient's, the model's standard scale.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DeepTranslateLib.cohort import Case
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from Testing.benchmarks.leave_one_out import Study, run_study
from Testing.benchmarks.sample import data_folder

BRAINS = {
    "MNI 07": ("mr_brain_openms_mni/cs_patient07", "T1", "T2"),
    "MNI 19": ("mr_brain_openms_mni/cs_patient19", "T1", "T2"),
    "LGG": ("mr_brain_tcga_lgg/TCGA-DU-7294", "T1", "T2"),
    "stroke": ("mr_brain_stroke_cstar", "T1", "T2"),
    "head 01": ("mr_brain_openms_native/long_patient01_study1", "T1W", "T2W_on_T1W"),
    "head 04": ("mr_brain_openms_native/long_patient04_study1", "T1W", "T2W_on_T1W"),
    "head 12": ("mr_brain_openms_native/long_patient12_study1", "T1W", "T2W_on_T1W"),
}
_THIN_MM = 2.0
_LEAST = 0.05  # part of a slice that the mask must fill for it to teach


def brains(folder: Path) -> list[Case]:
    """One case a patient; masks are written below the folder."""
    cases = []
    for subject, (place, t1, t2) in BRAINS.items():
        image = data_folder() / place / f"{t1}.nii.gz"
        target = data_folder() / place / f"{t2}.nii.gz"
        voxels = read_image(image)
        inside = head_mask(voxels)
        mask = write_image(inside, folder / f"{subject.replace(' ', '_')}_mask.nrrd")
        axis = next(a for a, letter in enumerate(voxels.orientation) if letter in "SI")
        spacing = float(voxels.spacing[axis])
        area = np.moveaxis(inside.voxels, 2 - axis, 0).mean(axis=(1, 2))
        step = 3 if spacing < _THIN_MM else 1
        slices = tuple(int(k) for k in range(0, len(area), step) if area[k] > _LEAST)
        cases.append(Case(subject, image, target, slices, mask=mask))
    return cases


def head_mask(t1: Image) -> Image:
    """The largest part above Otsu's threshold of the smoothed image, its slices closed and filled.

    Values above the 99th percentile count as that.
    """
    top = float(np.percentile(t1.voxels, 99))
    smooth = sitk.SmoothingRecursiveGaussian(
        sitk.GetImageFromArray(np.clip(t1.voxels, 0, top).astype(np.float32)), 1.0
    )
    bright = sitk.OtsuThreshold(smooth, 0, 1)
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(bright)) == 1
    closed = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(largest, [3, 3, 1]))
    filled = [sitk.BinaryFillhole(sitk.GetImageFromArray(s.astype(np.uint8))) for s in closed]
    return t1.with_voxels(np.stack([sitk.GetArrayFromImage(s) for s in filled]).astype(np.uint8))


STUDY = Study("t1_to_t2", "mr-t1-to-t2", "medians", (0, 3.5), brains)


def main(arguments: Sequence[str] = ()) -> None:
    """Run it."""
    run_study(STUDY, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
