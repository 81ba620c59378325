"""What a proposal leaves as its base has it, and what the scale of the images decides."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from test_proposal import CT, reason

from DeepTranslateLib.cohort.fingerprint import Fingerprint
from DeepTranslateLib.proposal import Proposal, propose_recipe
from DeepTranslateLib.recipe import Recipe, builtin_recipes, read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

MR = dataclasses.replace(
    CT, kind="volume", units="", modality="MR", body_area_cm2=None, labels={}, label_subjects={},
    image_range=(0.0, 540.0), label_quartiles=None, target_range=(0.0, 880.0),
)  # fmt: skip
MR_LABELS = dataclasses.replace(
    CT, units="", modality="MR", body_area_cm2=None, image_range=(0.0, 1234.0)
)
MR_TO_CT = dataclasses.replace(MR, target_range=(-1000.0, 1400.0), targets_in_hu=True)
CLEAN_CT = dataclasses.replace(
    CT, kind="volume", labels={}, label_subjects={}, label_quartiles=None,
    target_range=(-1000.0, 1100.0), targets_in_hu=True,
    shown_slices={"axial": 300, "coronal": 900, "sagittal": 900},
)  # fmt: skip
OPEN = read_recipe("segment-anything-you-label")


def changed(recipe: Recipe, **parts: dict[str, Any]) -> Recipe:
    content = to_json(recipe)
    for part, fields in parts.items():
        content[part].update(fields)
    return recipe_from_json(content)


def choices(found: Fingerprint, base: Recipe | None, medians: tuple[float, ...] = ()) -> Proposal:
    return propose_recipe(found, base, medians=medians)


@pytest.mark.parametrize("name", ["mr-t1-to-t2", "mr-to-ct"])
def test_a_standardised_base_keeps_its_window_which_is_on_that_scale(name):
    base = read_recipe(name)
    proposal = choices(MR if name == "mr-t1-to-t2" else MR_TO_CT, base)
    assert proposal.recipe.preprocessing.window == base.preprocessing.window
    assert proposal.recipe.preprocessing.standardisation == base.preprocessing.standardisation
    assert proposal.recipe.target == base.target
    assert "standard scale" in reason(proposal, "preprocessing.window")
    found = reason(proposal, "target.range")
    assert ("on the target's standard scale ('median')" in found) is (name == "mr-t1-to-t2")


@pytest.mark.parametrize(
    ("scale", "window"),
    [("median", (0, 3)), ("percentiles", (-0.3, 1.2)), ("histogram", (-0.3, 1.2))],
)
def test_an_open_recipe_on_a_standard_scale_gets_a_window_on_that_scale(scale, window):
    base = changed(OPEN, preprocessing={"standardisation": scale})
    proposal = choices(MR_LABELS, base)
    assert proposal.recipe.preprocessing.standardisation == scale
    assert proposal.recipe.preprocessing.window == window
    assert f"'{scale}'" in reason(proposal, "preprocessing.window")
    given = changed(base, preprocessing={"window": [0, 2]})
    assert choices(MR_LABELS, given).recipe.preprocessing.window == (0, 2)


def test_where_the_last_epoch_counts_nothing_is_waited_for():
    proposal = choices(MR_TO_CT, read_recipe("mr-to-ct"))
    assert proposal.recipe.training.monitor == "last"
    assert proposal.recipe.training.patience is None
    assert "training.monitor" in reason(proposal, "training.patience")


@pytest.mark.parametrize("name", sorted(builtin_recipes()))
def test_every_recipe_that_comes_with_the_program_can_be_a_base(name):
    base = read_recipe(name)
    in_hu = base.inputs[0].units == "HU"
    if base.target.kind == "labels":
        found = CT
    elif base.target.units == "HU":
        found = CLEAN_CT if in_hu else MR_TO_CT
    else:
        found = MR
    assert choices(found, base, (100.0, 300.0)).recipe.is_configured


@pytest.mark.parametrize("noise", ["pixel-subset", "none"])
def test_a_denoising_base_keeps_what_its_output_would_lose_and_its_network(noise):
    base = changed(read_recipe("ct-denoise"), noise={"kind": noise, "level": None})
    found = dataclasses.replace(CLEAN_CT, spacing_max=(1.6, 1.6, 5.0))
    proposal = choices(found, base)
    recipe = proposal.recipe
    assert recipe.preprocessing.window == recipe.target.range == (-1000, 1000)
    assert "clipped" in reason(proposal, "preprocessing.window")
    assert recipe.network == base.network
    assert "a pixel's surroundings" in reason(proposal, "network.levels")
    assert recipe.preprocessing.spacing is None
    assert not recipe.preprocessing.body_crop
    # What a person changed in one of the two alone.
    narrower = changed(base, preprocessing={"window": [-1000, 300]})
    expected = (-1000, 1000) if noise != "none" else (-1000, 300)
    assert choices(found, narrower).recipe.preprocessing.window == expected


def patches(**parts: dict[str, Any]) -> Recipe:
    return changed(
        read_recipe("ct-body-composition"),
        **{
            "sampling": {"patch": [4, 16, 16]},
            "preprocessing": {"body_crop": False},
            "network": {"dimension": 3, "levels": 3, "norm": "batch", "deep_supervision": False},
            "training": {"batch_size": 2},
            **parts,
        },
    )


def test_a_base_for_patches_keeps_the_network_that_was_made_for_them():
    base = patches()
    proposal = choices(CT, base)
    assert proposal.recipe.network == base.network
    for field in ("levels", "channels", "norm"):
        assert "patches of 4 x 16 x 16 voxels" in reason(proposal, f"network.{field}")


def test_an_open_recipe_for_patches_gets_a_network_for_them_and_not_for_slices():
    small = changed(OPEN, sampling={"patch": [4, 16, 16]}, network={"dimension": 3})
    proposal = choices(CT, small)
    assert proposal.recipe.network.levels == 3
    assert "side of a patch is 16 pixels" in reason(proposal, "network.levels")
    large = changed(
        OPEN,
        sampling={"patch": [64, 192, 192]},
        network={"dimension": 3},
        training={"batch_size": 2},
    )
    proposal = choices(CT, large)
    assert proposal.recipe.network.channels < 16
    assert "GB a step of 2 patches" in reason(proposal, "network.channels")


def test_a_step_of_several_slices_takes_as_many_times_the_memory():
    base = changed(OPEN, training={"batch_size": 16})
    assert choices(CT, OPEN).recipe.network.channels == 16
    proposal = choices(CT, base)
    assert proposal.recipe.network.channels == 4
    assert "a step of 16 slices" in reason(proposal, "network.channels")


def test_steps_are_batches():
    found = dataclasses.replace(CT, shown_slices={**CT.shown_slices, "axial": 100})
    one, four = (
        choices(found, changed(OPEN, training={"batch_size": size})) for size in (1, 4)
    )  # fmt: skip
    assert one.recipe.training.epochs == 60
    assert four.recipe.training.epochs == 240
    assert "100 slices, 4 a step," in reason(four, "training.epochs")
    # 240 epochs of 80 slices.
    assert "of about 4800 steps" in reason(four, "training.ema")
    three = choices(found, changed(OPEN, sampling={"fusion": True}))
    assert "With 1900 slices" in reason(three, "training.epochs")


def test_steps_of_patches_are_those_of_an_epoch():
    base = patches(sampling={"patch": [4, 16, 16], "patches_per_epoch": 50})
    proposal = choices(CT, base)
    assert "With 50 patches an epoch, 2 a step," in reason(proposal, "training.epochs")
    assert proposal.recipe.training.epochs == 240
    assert "of about 6000 steps" in reason(proposal, "training.ema")
    # 60 slices of 512 x 512 in each of 5 images.
    covered = choices(CT, patches())
    assert f"With {5 * 15 * 32 * 32} patches that cover" in reason(covered, "training.epochs")


def test_mr_of_several_scales_are_brought_to_one_where_nobody_chose():
    for base in (None, OPEN):
        alike = choices(MR_LABELS, base, (306.0, 309.0, 412.0))
        assert alike.recipe.preprocessing.standardisation == "none"
        assert alike.recipe.preprocessing.window == (0, 1300)
        assert "306 and 412" in reason(alike, "preprocessing.standardisation")
        apart = choices(MR_LABELS, base, (121.0, 309.0, 412.0))
        assert apart.recipe.preprocessing.standardisation == "percentiles"
        assert apart.recipe.preprocessing.window == (-0.3, 1.2)
        found = reason(apart, "preprocessing.standardisation")
        assert "121 and 412" in found
        assert "more than 1.5 times" in found
    to_ct = choices(MR_TO_CT, None, (121.0, 412.0)).recipe
    assert to_ct.preprocessing.standardisation == "percentiles"
    assert (to_ct.target.units, to_ct.target.standardisation) == ("HU", "none")


def test_where_a_scale_is_not_safe_to_choose_it_is_advised():
    written = changed(OPEN, preprocessing={"window": [0, 900]})
    for found, base in ((MR, None), (MR_LABELS, written)):
        proposal = choices(found, base, (121.0, 412.0))
        assert proposal.recipe.preprocessing.standardisation == "none"
        assert "Consider" in reason(proposal, "preprocessing.standardisation")
    assert choices(MR_LABELS, written, (121.0, 412.0)).recipe.preprocessing.window == (0, 900)
    unknown = choices(MR_LABELS, None)
    assert unknown.recipe.preprocessing.standardisation == "none"
    assert "Consider" in reason(unknown, "preprocessing.standardisation")


def test_hu_and_pictures_are_left_on_their_scale():
    for found in (CT, dataclasses.replace(MR_LABELS, modality="other")):
        proposal = choices(found, None, (121.0, 412.0))
        assert proposal.recipe.preprocessing.standardisation == "none"
        assert "Consider" not in reason(proposal, "preprocessing.standardisation")


def test_a_mask_of_the_base_leaves_out_the_table_already():
    base = changed(
        read_recipe("ct-body-composition"), preprocessing={"mask": "body", "body_crop": False}
    )
    proposal = choices(CT, base)
    assert not proposal.recipe.preprocessing.body_crop
    assert "The mask 'body'" in reason(proposal, "preprocessing.body_crop")
