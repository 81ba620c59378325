"""Masks of a cohort: what lies outside neither teaches nor is measured."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from engine_samples import (
    labels_recipe,
    lps_affine,
    oblique_affine,
    random_hu,
    stored_as,
    volume_recipe,
)

from DeepTranslateLib.cohort import Case, Cohort, CohortError, cohort_from_lists, read_cohort
from DeepTranslateLib.cohort.check import check_cohort
from DeepTranslateLib.cohort.folds import labelled_slices, with_fewer_slices
from DeepTranslateLib.cohort.split import Selection, split_cohort
from DeepTranslateLib.engine.augmentedslices import augmented_slices
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.engine.dataset import SliceSet, as_batch, collate
from DeepTranslateLib.engine.heldout import compared_slices
from DeepTranslateLib.engine.labelvalues import IGNORE
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image

SHAPE = (4, 10, 12)


def mask_of(seed=0, shape=SHAPE, empty=()):
    """An ellipse off the middle of each slice; `empty` slices have none."""
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    inside = ((rows - shape[1] / 2 + seed % 2) / 4) ** 2 + ((columns - shape[2] / 2) / 5) ** 2 < 1
    mask = np.repeat(inside[None], shape[0], axis=0)
    mask[list(empty)] = False
    return mask


def masked_cohort(garbage=0, subjects=3, empty=(), kind="volume"):
    """Images whose targets follow from them inside of a mask, and are anything outside."""
    images, targets, masks = [], [], []
    for seed in range(subjects):
        voxels = random_hu(SHAPE, seed)
        mask = mask_of(seed, empty=empty)
        target = voxels // 2 if kind == "volume" else np.where(voxels > 0, 10, 20)
        other = np.random.default_rng(garbage + seed).permutation(target.ravel()).reshape(SHAPE)
        values = np.where(mask, target, other).astype(np.int16 if kind == "volume" else np.uint8)
        images.append(Image(voxels, lps_affine()))
        targets.append(Image(values, lps_affine()))
        masks.append(Image(mask.astype(np.uint8) * 7, lps_affine()))
    names = [f"subject {seed}" for seed in range(subjects)]
    return cohort_from_lists(images, targets, names, masks=masks)


# --- the cohort


def test_a_csv_names_masks_beside_it_and_leaves_them_out_where_all_counts(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("subject,image,target,mask\na,a.nii,t.nii,sub/m.nii\nb,b.nii,u.nii,\n")
    first, second = read_cohort(path).cases
    assert first.mask == tmp_path / "sub" / "m.nii"
    assert second.mask is None
    assert second.counted("LPS") is None


def test_lists_in_python_take_masks_of_the_same_length():
    case = masked_cohort().cases[0]
    assert np.array_equal(case.counted("LPS"), mask_of(0))
    with pytest.raises(CohortError, match="1 images and 2 masks"):
        cohort_from_lists([case.image], [case.target], masks=[None, None])


def test_slices_count_in_the_order_of_the_image_however_the_mask_is_stored():
    case = masked_cohort(empty=(3,)).cases[0]
    turned = dataclasses.replace(case, mask=stored_as(case.mask, "IRA"))
    assert turned.counted_slices("axial") == case.counted_slices("axial") == (0, 1, 2)
    upside_down = dataclasses.replace(case, image=stored_as(case.image, "LPI"))
    assert upside_down.counted_slices("axial") == (1, 2, 3)
    listed = dataclasses.replace(case, slices=(3, 2, 2, 9))
    assert listed.counted_slices("axial") == (2, 9)
    assert labelled_slices(case, "axial") == (0, 1, 2)


def test_a_split_and_a_subset_of_slices_hold_no_slice_without_a_voxel_that_counts():
    cohort = masked_cohort(empty=(0, 2))
    split = split_cohort(cohort)
    assert {s.slices for s in (*split.training, *split.validation)} == {(1, 3)}
    assert all(c.slices == (1, 3) for c in with_fewer_slices(cohort, 6, volume_recipe()).cases)
    entry = split.to_json()["training"][0]
    assert entry["mask"] == "in memory"


def test_of_labels_only_those_that_count_make_a_slice_full():
    cohort = masked_cohort(kind="labels")
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 0, 0] = 10  # outside the mask
    labels[2, 5, 6] = 10
    case = dataclasses.replace(cohort.cases[0], target=Image(labels, lps_affine()))
    (kept,) = with_fewer_slices(Cohort((case,), "one"), 2, labels_recipe(1)).cases
    assert 2 in kept.slices
    taken = [
        with_fewer_slices(Cohort((case,), "one"), 2, labels_recipe(1), seed).cases[0].slices
        for seed in range(20)
    ]
    # Slice 1 is no fuller than 0 and 3.
    assert {other for slices in taken for other in slices} == {0, 1, 2, 3}


def faults_of(case):
    return {f.kind: f for f in check_cohort(Cohort((case,), "one"), volume_recipe())}


def test_a_mask_is_checked_like_a_target(tmp_path):
    case = masked_cohort(empty=(1,)).cases[0]
    assert not faults_of(case).keys() & {"unreadable_mask", "shape_mismatch", "empty_mask"}
    (tmp_path / "broken.nrrd").write_bytes(b"nothing")
    assert "unreadable_mask" in faults_of(dataclasses.replace(case, mask=tmp_path / "broken.nrrd"))
    small = Image(np.ones((4, 10, 11), np.uint8), lps_affine())
    fault = faults_of(dataclasses.replace(case, mask=small))["shape_mismatch"]
    assert fault.severity == "error"
    assert "the mask 11 x 10 x 4" in fault.found
    moved = Image(case.mask.voxels, oblique_affine())
    assert "geometry_mismatch" in faults_of(dataclasses.replace(case, mask=moved))
    nothing = case.mask.with_voxels(np.zeros(SHAPE, np.uint8))
    assert "0 everywhere" in faults_of(dataclasses.replace(case, mask=nothing))["empty_mask"].found
    listed = dataclasses.replace(case, slices=(1,))
    assert "0 on all slices that are listed" in faults_of(listed)["empty_mask"].found


# --- learning


def test_labels_outside_are_ignored(tmp_path):
    case = masked_cohort(kind="labels").cases[0]
    recipe = labels_recipe(2)
    pieces = SliceSet([Selection(case, None)], recipe, tmp_path).slices
    for number, piece in enumerate(pieces):
        expected = np.where(mask_of(0)[number], case.target.voxels[number] // 10, IGNORE)
        assert np.array_equal(piece.target.numpy(), expected)


def batches(cohort, recipe, folder):
    """Batches of a cohort as they are and as training changes them."""
    pieces = SliceSet([Selection(case, None) for case in cohort.cases], recipe, folder).slices
    changed = augmented_slices(pieces[:6], recipe, random_state(1), torch.device("cpu"))
    return [as_batch(*collate(pieces[:6]), recipe), as_batch(*changed, recipe)]


def test_volumes_weigh_nothing_outside_and_are_themselves_inside(tmp_path):
    cohort = masked_cohort()
    plain, changed = batches(cohort, volume_recipe(), tmp_path)
    for place in range(4):
        inside = mask_of(0)[place]
        values = cohort.cases[0].target.voxels[place] / 2000 + 0.5
        assert np.array_equal(plain.mask[place, 0].numpy(), inside)
        assert plain.targets[place, 0].numpy()[inside] == pytest.approx(values[inside], abs=1e-6)
    assert 0 < changed.mask.mean() < 1


@pytest.mark.parametrize("spacing", [None, 1.7])
@pytest.mark.parametrize("kind", ["labels", "volume"])
def test_what_lies_outside_reaches_no_batch_however_it_is_warped_and_resampled(
    tmp_path, kind, spacing
):
    make = labels_recipe if kind == "labels" else volume_recipe
    recipe = make(*([2] if kind == "labels" else []), preprocessing={"spacing": spacing})
    pairs = zip(
        batches(masked_cohort(0, kind=kind), recipe, tmp_path / "a"),
        batches(masked_cohort(50, kind=kind), recipe, tmp_path / "b"),
        strict=True,
    )
    for one, other in pairs:
        assert torch.equal(one.mask, other.mask)
        assert torch.equal(one.targets * one.mask, other.targets * other.mask)
        assert 0 < one.mask.mean() < 1


def test_a_target_that_is_the_same_everywhere_inside_stays_so_up_to_the_masks_edge(tmp_path):
    # Premultiplied, no value from outside is mixed in where a pixel is only partly inside.
    case = masked_cohort().cases[0]
    values = np.where(mask_of(0), 500, -1000).astype(np.int16)
    case = dataclasses.replace(case, target=Image(values, lps_affine()))
    recipe = volume_recipe(preprocessing={"spacing": 1.6})
    for batch in batches(Cohort((case, case), "one"), recipe, tmp_path):
        inside = batch.mask > 1e-3
        assert (inside & (batch.mask < 0.999)).any()
        assert (batch.targets[inside] - 0.75).abs().max() < 1e-4


def test_cases_with_and_without_masks_make_one_batch(tmp_path):
    first, second, _ = masked_cohort().cases
    cohort = Cohort((first, dataclasses.replace(second, mask=None)), "mixed")
    pieces = SliceSet([Selection(c, (1,)) for c in cohort.cases], volume_recipe(), tmp_path).slices
    batch = as_batch(*collate(pieces), volume_recipe())
    assert np.array_equal(batch.mask[0, 0].numpy(), mask_of(0)[1])
    assert batch.mask[1].min() == 1


# --- measuring


def test_the_baseline_counts_pixels_of_the_mask_alone():
    cohort = masked_cohort()
    case = cohort.cases[0]
    baseline = IntensityBaseline(volume_recipe(), [case], [[0, 1, 3]])
    table = baseline.tables["intensity, mean"]
    voxels, truth = case.image.voxels, case.target.voxels
    known = np.zeros(SHAPE, bool)
    known[[0, 1, 3]] = mask_of(0)[[0, 1, 3]]
    bins = np.clip((voxels.astype(float) + 1000) / 2000 * 256, 0, 255).astype(int)
    for place in np.unique(bins[known])[::5]:
        assert table[place] == pytest.approx(truth[known & (bins == place)].mean(), abs=1e-3)


def test_mae_and_psnr_of_held_out_slices_are_those_inside_the_mask():
    affine = oblique_affine()
    rng = np.random.default_rng(3)
    output = rng.uniform(-500, 500, SHAPE).astype(np.float32)
    truth = rng.integers(-500, 500, SHAPE).astype(np.int16)
    mask = stored_as(Image(mask_of(0).astype(np.uint8), affine), "PIR")
    (row,) = compared_slices(
        Image(output, affine), Image(truth, affine), volume_recipe(), [1, 2], mask
    )
    # The stack's axis is the first: that of an oblique image stored as slices.
    inside = np.zeros(SHAPE, bool)
    inside[1:3] = mask_of(0)[1:3]
    error = (output.astype(float) - truth)[inside]
    assert row["voxels"] == inside.sum()
    assert row["mae"] == pytest.approx(np.abs(error).mean())
    assert row["psnr"] == pytest.approx(20 * np.log10(2000 / np.sqrt((error**2).mean())))


def test_dice_of_held_out_slices_is_that_inside_the_mask():
    rng = np.random.default_rng(5)
    output, truth = (rng.choice([0, 10, 20], SHAPE).astype(np.uint8) for _ in range(2))
    images = [Image(values, lps_affine()) for values in (output, truth, mask_of(0).astype("u1"))]
    rows = compared_slices(*images[:2], labels_recipe(2), range(4), images[2])
    for row, value in zip(rows, (10, 20), strict=True):
        mine, theirs = (x[mask_of(0)] == value for x in (output, truth))
        assert row["dice"] == pytest.approx(2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()))


def test_training_and_its_validation_know_nothing_of_what_lies_outside(tmp_path):
    recipe = volume_recipe(training={"epochs": 2})
    models = [
        train(recipe, masked_cohort(garbage), tmp_path / str(garbage), "cpu") for garbage in (0, 9)
    ]
    assert models[0].weights() == models[1].weights()
    assert models[0].card.metrics == models[1].card.metrics
    unmasked = [dataclasses.replace(c, mask=None) for c in masked_cohort().cases]
    other = train(recipe, Cohort(tuple(unmasked), "all"), tmp_path / "all", "cpu")
    assert other.weights() != models[0].weights()


@pytest.mark.parametrize(
    "sampling", [{"patch": [4, 8, 8], "patches_per_epoch": 6}, {"fusion": True}]
)
@pytest.mark.parametrize("kind", ["labels", "volume"])
def test_patches_and_fused_planes_know_nothing_of_what_lies_outside(tmp_path, kind, sampling):
    parts = {"training": {"epochs": 1}, "sampling": sampling}
    if "patch" in sampling:
        parts["network"] = {"dimension": 3}
    recipe = labels_recipe(2, **parts) if kind == "labels" else volume_recipe(**parts)
    models = [
        train(recipe, masked_cohort(garbage, kind=kind), tmp_path / str(garbage), "cpu")
        for garbage in (0, 9)
    ]
    assert models[0].weights() == models[1].weights()
    assert models[0].card.metrics == models[1].card.metrics


def test_cross_validation_measures_inside_the_mask_and_refuses_to_go_on_with_another(tmp_path):
    recipe = volume_recipe(training={"epochs": 1, "validation_fraction": 0.3})
    rows = [
        cross_validate(recipe, masked_cohort(garbage), 3, tmp_path / str(garbage), device="cpu")
        for garbage in (0, 9)
    ]
    assert rows[0] == rows[1]
    assert {row["method"] for row in rows[0]} == {"network", "intensity, mean", "intensity, median"}
    assert all(row["voxels"] == mask_of(int(row["subject"][-1])).sum() for row in rows[0])
    cohort = masked_cohort()
    mask = cohort.cases[0].mask
    other = dataclasses.replace(cohort.cases[0], mask=mask.with_voxels(1 - mask.voxels // 7))
    with pytest.raises(TrainingError, match=r"images, labels or masks"):
        cross_validate(
            recipe, Cohort((other, *cohort.cases[1:]), "x"), 3, tmp_path / "0", device="cpu"
        )


def test_masks_in_files_train_from_a_csv(tmp_path):
    lines = ["subject,image,target,mask"]
    for case in masked_cohort().cases:
        for name in ("image", "target", "mask"):
            write_image(getattr(case, name), tmp_path / f"{case.subject}-{name}.nrrd")
        lines.append(",".join([case.subject, *(f"{case.subject}-{n}.nrrd" for n in
                                               ("image", "target", "mask"))]))  # fmt: skip
    (tmp_path / "c.csv").write_text("\n".join(lines))
    recipe = volume_recipe(training={"epochs": 1})
    model = train(recipe, read_cohort(tmp_path / "c.csv"), tmp_path / "run", "cpu")
    in_memory = train(recipe, masked_cohort(), tmp_path / "memory", "cpu")
    assert model.weights() == in_memory.weights()
    written = json.loads((tmp_path / "run" / "cohort.json").read_text())
    assert written["training"][0]["mask"].endswith("-mask.nrrd")
    assert isinstance(Case("a", "b.nii", None, mask="m.nii").mask, type(tmp_path))
