"""The proposed recipe follows what was measured, each time for a reason that names it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from test_fingerprint import cohort

from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.fingerprint import Fingerprint
from DeepTranslateLib.cohort.measurement import measure_cohort
from DeepTranslateLib.proposal import Proposal, propose_recipe, reasons_path, write_proposal
from DeepTranslateLib.recipe import read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

CT = Fingerprint(
    kind="labels", cases=5, subjects=5, units="HU", modality="CT",
    spacing=(0.8, 0.8, 5.0), spacing_min=(0.75, 0.75, 5.0), spacing_max=(0.9, 0.9, 5.0),
    size=(512, 512, 60), size_min=(512, 512, 40), planes=("axial", "coronal", "sagittal"),
    labelled_slices={"axial": 17, "coronal": 900, "sagittal": 900},
    shown_slices={"axial": 17, "coronal": 900, "sagittal": 900},
    foreground={"0.5": -140.0, "5": -120.0, "50": 0.0, "95": 90.0, "99.5": 180.0},
    label_quartiles=(-120.0, 90.0), image_range=(-1000.0, 900.0), target_range=None,
    labels={"1": 0.1, "2": 0.02},
    label_subjects={"1": 5, "2": 4}, body_area_cm2=650.0, targets_in_hu=False,
)  # fmt: skip


def proposed(base: Any = None, **changes: Any) -> Proposal:
    return propose_recipe(dataclasses.replace(CT, **changes), base)


def reason(proposal: Proposal, field: str) -> str:
    (found,) = [r for r in proposal.reasons if r.field == field]
    content: Any = to_json(proposal.recipe)
    for name in field.split("."):
        content = content[name] if isinstance(content, dict) else content[0]
    if field not in ("inputs", "target.labels"):
        assert found.value == content, field
    return found.reason


def test_ct_of_the_trunk_gets_the_papers_network_a_window_around_its_tissues_and_a_crop():
    proposal = proposed()
    recipe = proposal.recipe
    assert (recipe.inputs[0].modality, recipe.inputs[0].units) == ("CT", "HU")
    # -120 to 90 and 210 on each side, to fifties.
    assert recipe.preprocessing.window == (-350, 300)
    assert "-120 and 90 HU" in reason(proposal, "preprocessing.window")
    assert recipe.preprocessing.body_crop
    assert "650 cm2" in reason(proposal, "preprocessing.body_crop")
    assert (recipe.network.levels, recipe.network.channels) == (5, 16)
    assert recipe.network.norm == "none"
    assert recipe.network.deep_supervision
    assert recipe.sampling.plane == "axial"
    assert recipe.preprocessing.spacing == "auto"
    assert [label.name for label in recipe.target.labels] == ["label 1", "label 2"]
    assert "2: 2 % in 4 of 5" in reason(proposal, "target.labels")
    for item in proposal.reasons:
        assert item.reason.endswith(".")
        assert len({r.field for r in proposal.reasons}) == len(proposal.reasons)


def test_a_narrow_window_is_widened_to_400_hu():
    low, high = proposed(label_quartiles=(40.0, 60.0)).recipe.preprocessing.window
    assert (low, high) == (-150, 250)


def test_heads_and_other_planes_are_not_cropped():
    head = proposed(body_area_cm2=230.0)
    assert not head.recipe.preprocessing.body_crop
    assert "230 cm2, less than a trunk" in reason(head, "preprocessing.body_crop")


def test_mr_gets_instance_norm_a_window_from_air_on_and_no_crop():
    proposal = proposed(
        units="", modality="MR", body_area_cm2=None, image_range=(0.0, 1234.0),
        label_quartiles=(80.0, 900.0),
    )  # fmt: skip
    recipe = proposal.recipe
    assert recipe.network.norm == "instance"
    assert recipe.preprocessing.window == (0, 1300)
    assert not recipe.preprocessing.body_crop
    assert "guess" in reason(proposal, "inputs")


def test_the_plane_is_that_of_the_thick_slices_or_of_the_lists_of_slices():
    coronal = proposed(spacing=(0.8, 4.0, 0.8), spacing_min=(0.8, 4.0, 0.8),
                       spacing_max=(0.8, 4.0, 0.8))  # fmt: skip
    assert coronal.recipe.sampling.plane == "coronal"
    assert "coronal slices are what was acquired" in reason(coronal, "sampling.plane")
    assert proposed(spacing=(1.0, 1.2, 1.0)).recipe.sampling.plane == "axial"
    named = proposed(planes=("sagittal",))
    assert named.recipe.sampling.plane == "sagittal"
    assert "fit the sagittal plane" in reason(named, "sampling.plane")


def test_pixels_that_differ_or_are_too_many_get_a_size_of_their_own():
    mixed = proposed(spacing_max=(1.6, 1.6, 5.0))
    assert mixed.recipe.preprocessing.spacing == 0.8
    assert "0.75 to 1.6 mm" in reason(mixed, "preprocessing.spacing")
    huge = proposed(size=(2048, 2048, 60), spacing=(0.2, 0.2, 5), spacing_min=(0.2, 0.2, 5),
                    spacing_max=(0.2, 0.2, 5))  # fmt: skip
    assert huge.recipe.preprocessing.spacing == 0.8


@pytest.mark.parametrize(("size", "levels"), [(48, 3), (64, 4), (16, 2), (512, 5), (9, 2)])
def test_levels_are_limited_by_the_size_of_slices(size, levels):
    network = proposed(size=(size, 512, 60)).recipe.network
    assert network.levels == levels
    assert network.deep_supervision is (levels >= 4)


def test_channels_grow_with_slices_and_shrink_with_memory():
    many = dataclasses.replace(CT, shown_slices={**CT.shown_slices, "axial": 165})
    assert propose_recipe(many).recipe.network.channels == 32
    small = propose_recipe(many, memory_bytes=2**29)
    assert small.recipe.network.channels < 32
    assert "0.5 GB are allowed" in reason(small, "network.channels")


def test_epochs_follow_the_number_of_slices():
    epochs = [
        proposed(shown_slices={**CT.shown_slices, "axial": n}).recipe.training.epochs
        for n in (5, 17, 60, 2000)
    ]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (400, 60)
    training = proposed().recipe.training
    assert training.patience == round(0.3 * training.epochs)
    assert training.ema == 0.99
    assert "6000 steps" in reason(proposed(), "training.epochs")


def test_labels_with_sides_forbid_mirror_images():
    base = recipe_from_json({
        "name": "kidneys",
        "target": {"kind": "labels", "labels": [{"value": 1, "name": "left kidney"},
                                                {"value": 5, "name": "right_kidney"}]},
    })  # fmt: skip
    proposal = proposed(base)
    augmentation = proposal.recipe.augmentation
    assert (augmentation.flip_left_right, augmentation.flip_up_down) == (0, 0)
    assert "left kidney, right_kidney" in reason(proposal, "augmentation.flip_left_right")
    plain = proposed()
    assert plain.recipe.augmentation.flip_left_right == 0.5
    assert "Set both flips to 0" in reason(plain, "augmentation.flip_left_right")


def test_a_base_keeps_its_name_labels_and_method_and_learns_of_further_values():
    base = read_recipe("ct-body-composition")
    proposal = proposed(base, labels={"1": 0.1, "9": 0.01}, label_subjects={"1": 5, "9": 1})
    recipe = proposal.recipe
    assert (recipe.name, recipe.method, recipe.optimizer) == (
        base.name, base.method, base.optimizer)  # fmt: skip
    assert recipe.target.labels[:3] == base.target.labels
    assert (recipe.target.labels[3].value, recipe.target.labels[3].name) == (9, "label 9")
    assert "No label map holds visceral fat, lean tissue" in reason(proposal, "target.labels")


def test_255_is_what_was_not_decided():
    proposal = proposed(labels={"1": 0.1, "255": 0.2}, label_subjects={"1": 5, "255": 5})
    assert proposal.recipe.target.ignore == 255
    assert [label.value for label in proposal.recipe.target.labels] == [1]


def test_volumes_get_a_range_and_a_loss_for_volumes():
    proposal = proposed(
        kind="volume", labels={}, label_subjects={}, target_range=(-1003.0, 1450.0),
        label_quartiles=None, targets_in_hu=True,
    )  # fmt: skip
    target = proposal.recipe.target
    assert (target.kind, target.units, target.range) == ("volume", "HU", (-1100, 1500))
    assert proposal.recipe.method.loss == "mae"
    assert proposal.recipe.preprocessing.window == (-1000, 200)


def test_what_does_not_fit_is_refused():
    with pytest.raises(CohortError, match="makes labels and the cohort's targets are volume"):
        proposed(read_recipe("ct-body-composition"), kind="volume", target_range=(0, 1))
    with pytest.raises(CohortError, match="No labelled slice of the cohort holds a label"):
        proposed(labels={})


def test_what_is_written_is_read_again_and_says_why(tmp_path):
    found = measure_cohort(cohort())
    proposal = propose_recipe(found)
    path = tmp_path / "mine.json"
    beside = write_proposal(proposal, found, path)
    assert read_recipe(path) == proposal.recipe
    assert beside == reasons_path(path) == tmp_path / "mine.reasons.json"


def test_labels_get_the_loss_that_small_ones_count_in_and_a_written_base_keeps_its_own():
    proposal = proposed()
    assert proposal.recipe.method.loss == "dice_cross_entropy"
    assert "the smallest is 2 % of the voxels" in reason(proposal, "method.loss")
    undecided = proposed(labels={"1": 0.1, "255": 0.001}, label_subjects={"1": 5, "255": 5})
    assert "the smallest is 10 % of the voxels" in reason(undecided, "method.loss")
    base = read_recipe("ct-body-composition")
    assert proposed(base).recipe.method == base.method


def test_people_lie_alike_unless_a_written_base_says_otherwise():
    augmentation = proposed().recipe.augmentation
    assert (augmentation.rotation, augmentation.flip_up_down) == (20, 0)
    assert augmentation.flip_left_right == 0.5
    assert "upside down" in reason(proposed(), "augmentation.flip_up_down")
    base = read_recipe("ct-body-composition")
    assert proposed(base).recipe.augmentation == base.augmentation
