"""`mr-to-ct` on the T1-weighted MR and CT of eleven limbs, leave one out.

The mask is the body in the CT. Every second slice teaches and is measured. The MR have been brought
to one scale by their subcutaneous fat, so that the recipe's own standardisation is left out.
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

BODY_HU = -300


def limbs(folder: Path) -> list[Case]:
    """One case a patient; masks are written below the folder."""
    cases = []
    for place in sorted((data_folder() / "paired_ct_mrt1_sts").glob("STS_*")):
        ct = read_image(place / "CT.nii.gz")
        mask = write_image(body_mask(ct), folder / f"{place.name}_body.nrrd")
        slices = tuple(range(0, len(ct.voxels), 2))
        image, target = place / "MR_T1.nii.gz", place / "CT.nii.gz"
        cases.append(Case(place.name, image, target, slices, mask=mask))
    return cases


def body_mask(ct: Image) -> Image:
    """The largest connected part above -300 HU, opened and with the holes of its slices filled."""
    solid = sitk.GetImageFromArray((ct.voxels > BODY_HU).astype(np.uint8))
    opened = sitk.BinaryMorphologicalOpening(solid, [2, 2, 0])
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(opened))
    largest = sitk.GetArrayFromImage(parts) == 1
    filled = [sitk.BinaryFillhole(sitk.GetImageFromArray(s.astype(np.uint8))) for s in largest]
    return ct.with_voxels(np.stack([sitk.GetArrayFromImage(s) for s in filled]).astype(np.uint8))


SCALED = {"preprocessing": {"standardisation": "none", "window": [0, 1500]}}
STUDY = Study("mr_to_ct", "mr-to-ct", "HU", (-300, 500), limbs, SCALED)


def main(arguments: Sequence[str] = ()) -> None:
    """Run it."""
    run_study(STUDY, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
