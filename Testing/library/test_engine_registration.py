"""Registration finds shifts, turns and warps that are known, the same ones every time."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from registration_samples import (
    AFFINE,
    LANDMARKS,
    RIGID,
    TILTED,
    UPRIGHT,
    painted,
    pair,
    placed,
    positions,
    rotation,
)

from DeepTranslateLib.cli.failures import MISSING, explain
from DeepTranslateLib.engine.alignment import RegistrationError, measure_alignment
from DeepTranslateLib.engine.registration import (
    MissingPackageError,
    register,
    to_itk,
    transform_of_map,
)
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.affine import sitk_geometry
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.image.transform import Transform

DATA = Path(
    os.environ.get("DEEPTRANSLATE_DATA") or Path(__file__).parents[3] / "shared" / "data"
).resolve()
# Of itk's modules, when they are loaded.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")


def errors(transform: Transform, expected: np.ndarray) -> np.ndarray:
    """Distances in mm at the landmarks."""
    return np.linalg.norm(transform.points(LANDMARKS) - expected, axis=1)


@pytest.mark.parametrize(("kind", "matrix"), [("rigid", RIGID), ("affine", AFFINE)])
def test_a_known_place_is_found_to_a_quarter_of_a_voxel(kind: str, matrix: np.ndarray) -> None:
    expected = placed(matrix, LANDMARKS)
    assert errors(Transform(), expected).mean() > 4
    found = register(*pair(matrix), kind, iterations=80)
    assert errors(found.transform, expected).max() < 0.5
    assert found.transform.is_linear
    assert found.start == "headers"
    assert found.improved
    if kind == "rigid":
        turn = found.transform.matrix[:3, :3]
        assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9)


def test_a_deformation_comes_nearer_to_a_known_warp_than_an_affine_transform() -> None:
    def warp(ras: np.ndarray) -> np.ndarray:
        return ras + 4 * np.stack(
            [np.sin(ras[..., 1] / 15), np.cos(ras[..., 2] / 15), np.sin(ras[..., 0] / 15)], axis=-1
        )

    fixed = painted(UPRIGHT, warp(positions(UPRIGHT)))
    moving = painted(TILTED, positions(TILTED), 2)
    left = {}
    for kind in ("affine", "deformable"):
        found = register(fixed, moving, kind, iterations=15)
        left[kind] = errors(found.transform, warp(LANDMARKS)).mean()
    assert left["deformable"] < 0.75 * left["affine"]
    # And what it finds is one to one, so that outputs can be brought back.
    back = found.transform.inverse(moving).points(found.transform.points(LANDMARKS))
    assert np.linalg.norm(back - LANDMARKS, axis=1).max() < 0.2


def test_the_same_images_give_the_same_transform_to_the_last_bit() -> None:
    first, second = (register(*pair(), "affine", iterations=10) for _ in range(2))
    assert first.transform.matrix.tobytes() == second.transform.matrix.tobytes()
    assert first.after == second.after


def test_images_of_two_patients_begin_with_their_centres_on_each_other() -> None:
    fixed, moving = pair()
    away = np.eye(4)
    away[:3, 3] = (400, -300, 1200)
    far = Image(moving.voxels, away @ moving.affine)
    found = register(fixed, far, "rigid", iterations=80)
    assert found.start == "centres"
    assert found.before.overlap == 0
    assert errors(found.transform, placed(away @ RIGID, LANDMARKS)).max() < 0.5


@pytest.mark.parametrize("kind", ["EulerTransform", "AffineTransform", "BSplineTransform"])
def test_elastix_resamples_by_its_transforms_as_they_are_read_here(kind: str) -> None:
    import itk

    rng = np.random.default_rng(2)
    linear = {"CenterOfRotationPoint": ("5", "-3", "8"), "ComputeZYX": ("false",)}
    # Knots 14 to 16 mm apart around the world's origin, tilted.
    axes, apart = TILTED.directions * [[-1], [-1], [1]], np.array([14, 15, 16])
    grid = {
        "GridSize": ("9", "9", "9"),
        "GridIndex": ("0", "0", "0"),
        "GridSpacing": tuple(map(str, apart)),
        "GridOrigin": tuple(map(str, -axes @ (apart * 4))),
        "GridDirection": tuple(map(str, axes.T.ravel())),
    }
    values = {
        "EulerTransform": rng.uniform(-0.3, 0.3, 6) * (1, 1, 1, 20, 20, 20),
        "AffineTransform": [*(np.eye(3).ravel() + rng.uniform(-0.1, 0.1, 9)), 4, -5, 6],
        "BSplineTransform": rng.uniform(-6, 6, 3 * 9**3),
    }[kind]
    moving = to_itk(itk, TILTED, pair()[1].voxels)
    origin, spacing, direction = sitk_geometry(UPRIGHT.affine)
    described = {
        "Transform": (kind,),
        "NumberOfParameters": (str(len(values)),),
        "TransformParameters": tuple(repr(float(value)) for value in values),
        "InitialTransformParameterFileName": ("NoInitialTransform",),
        "HowToCombineTransforms": ("Compose",),
        "FixedImageDimension": ("3",),
        "MovingImageDimension": ("3",),
        "FixedInternalImagePixelType": ("float",),
        "MovingInternalImagePixelType": ("float",),
        "Size": ("32", "32", "32"),
        "Index": ("0", "0", "0"),
        "Spacing": tuple(map(repr, spacing)),
        "Origin": tuple(map(repr, origin)),
        "Direction": tuple(map(repr, np.reshape(direction, (3, 3)).T.ravel().tolist())),
        "UseDirectionCosines": ("true",),
        "ResampleInterpolator": ("FinalLinearInterpolator",),
        "Resampler": ("DefaultResampler",),
        "DefaultPixelValue": ("-1",),
        **(grid if kind == "BSplineTransform" else linear),
    }
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(described)
    filter_ = itk.TransformixFilter.New(moving)
    filter_.SetTransformParameterObject(parameters)
    filter_.UpdateLargestPossibleRegion()
    expected = itk.array_from_image(filter_.GetOutput())
    made = transform_of_map(described).resampled(pair()[1], UPRIGHT, "linear", -1).voxels
    unmoved = Transform().resampled(pair()[1], UPRIGHT, "linear", -1).voxels
    assert np.abs(expected - unmoved).mean() > 1
    assert np.abs(made - expected).max() < 1e-3


def test_a_mask_says_where_images_are_compared() -> None:
    fixed, moving = pair()
    # A wrong, bright block in the fixed image, and a mask that leaves it out.
    voxels, mask = fixed.voxels.copy(), np.ones(fixed.shape, np.uint8)
    voxels[:, :14], mask[:, :14] = 3 * np.roll(voxels[:, :14], 6, axis=2), 0
    spoilt = fixed.with_voxels(voxels)
    expected = placed(RIGID, LANDMARKS)
    with_mask = register(spoilt, moving, "rigid", mask=fixed.with_voxels(mask), iterations=80)
    without = register(spoilt, moving, "rigid", iterations=80)
    assert errors(with_mask.transform, expected).mean() < 0.5
    assert errors(with_mask.transform, expected).mean() < errors(without.transform, expected).mean()


def test_normalised_information_is_2_for_a_copy_and_1_for_noise() -> None:
    rng = np.random.default_rng(3)
    first, second = (UPRIGHT.with_voxels(rng.normal(size=UPRIGHT.shape)) for _ in range(2))
    copy = measure_alignment(first, first.with_voxels(-5 * first.voxels), Transform())
    assert copy.information == pytest.approx(2, abs=1e-6)
    noise = measure_alignment(first, second, Transform())
    assert noise.information == pytest.approx(1, abs=0.01)
    assert (noise.coverage, copy.coverage) == (1.0, 1.0)


def test_overlap_and_coverage_are_those_of_known_boxes() -> None:
    voxels = np.zeros((40, 40, 40), np.float32)
    voxels[10:30, 10:30, 10:30] = 100
    image = Image(voxels, np.eye(4))
    shift = np.eye(4)
    shift[0, 3] = 5
    found = measure_alignment(image, image, Transform((shift,)))
    assert found.overlap == pytest.approx(15 / 20)
    assert found.coverage == pytest.approx(35 / 40)


def test_images_that_cannot_be_registered_are_refused_before_anything_starts() -> None:
    fixed, moving = pair()
    holed = moving.voxels.copy()
    holed[0, 0, 0] = np.nan
    flat = fixed.cropped((0, 0, 0), (32, 32, 2))
    for first, second, mask, message in (
        (fixed, moving.with_voxels(0 * moving.voxels), None, "nothing to register by"),
        (fixed, moving.with_voxels(holed), None, "no numbers"),
        (flat, moving, None, "at least 4 along each axis"),
        (fixed, moving, moving, "another grid than the fixed image"),
        (fixed, moving, fixed.with_voxels(0 * fixed.voxels), "0 everywhere"),
        # The same grid, stored in another order of voxels.
        (fixed, moving, fixed.with_voxels(0 * fixed.voxels).oriented("SAR"), "0 everywhere"),
    ):
        with pytest.raises(RegistrationError, match=message):
            register(first, second, "rigid", mask=mask)
    with pytest.raises(RegistrationError, match="found 'similarity'"):
        register(fixed, moving, "similarity")


def test_without_the_package_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(MissingPackageError, match=r'pip install "itk-elastix>=0\.23"') as caught:
        register(*pair(), "rigid")
    assert explain(caught.value) == (str(caught.value), MISSING)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not here")
@pytest.mark.parametrize("subject", ["STS_041"])
def test_a_misalignment_of_a_real_ct_and_mr_is_undone(subject: str) -> None:
    folder = DATA / "paired_ct_mrt1_sts" / subject
    mr, ct = read_image(folder / "MR_T1.nii.gz"), read_image(folder / "CT.nii.gz")
    middle = mr.ras((np.array(mr.shape[::-1]) - 1) / 2)
    away = np.eye(4)
    away[:3, :3] = rotation(5, (1, 1, 2))
    away[:3, 3] = middle - away[:3, :3] @ middle + np.array([3, -3, 2.6])
    corners = mr.ras(np.array(np.meshgrid(*([0, n - 1] for n in mr.shape[::-1]))).reshape(3, 8).T)
    # As the pair is, its own small misalignment is found too; the difference is what was added.
    own = register(mr, ct, "rigid", iterations=150).transform
    moved = Image(ct.voxels, away @ ct.affine)
    found = register(mr, moved, "rigid", iterations=150)
    left = np.linalg.norm(
        found.transform.points(corners) - placed(away, own.points(corners)), axis=1
    )
    added = np.linalg.norm(placed(away, corners) - corners, axis=1)
    assert added.mean() > 5
    assert left.mean() < 1.5
    assert found.after.overlap > found.before.overlap
    assert found.improved
