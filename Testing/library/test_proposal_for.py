"""From the images of a cohort to a proposal: what is measured, and what is refused before."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from engine_samples import lps_affine
from test_fingerprint import cohort

from DeepTranslateLib.cli import main
from DeepTranslateLib.cohort import Cohort, CohortError, cohort_from_lists
from DeepTranslateLib.configuration import configured, proposal_for
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import read_recipe
from DeepTranslateLib.schema import to_json


def brain(seed: int, gain: float) -> np.ndarray:
    """Air, and tissue whose median is about 400 times the gain."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 5, (4, 24, 24)).astype(float)
    voxels[:, 4:20, 4:20] = rng.normal(400, 40, (4, 16, 16))
    return (voxels * gain).round().astype(np.int16)


def mr(gains: tuple[float, ...], labelled: bool) -> Cohort:
    images = [Image(brain(n, gain), lps_affine()) for n, gain in enumerate(gains)]
    if labelled:
        inside = np.zeros((4, 24, 24), np.uint8)
        inside[:, 8:16, 8:16] = 1
        targets = [Image(inside, lps_affine())] * len(gains)
    else:
        targets = [Image(brain(9, gain), lps_affine()) for gain in gains]
    return cohort_from_lists(images, targets, [f"s{n}" for n in range(len(gains))])


def without_targets() -> Cohort:
    cases = tuple(dataclasses.replace(case, target=None) for case in cohort().cases)
    return Cohort(cases, "mine.csv")


def why(proposal, field: str) -> str:
    return next(r.reason for r in proposal.reasons if r.field == field)


def test_pairs_of_mr_keep_the_window_of_a_base_that_standardises():
    proposal, found = proposal_for(mr((1, 1.1), labelled=False), read_recipe("mr-t1-to-t2"))
    assert found.image_range[1] > 400
    assert proposal.recipe.preprocessing.window == (0, 3)
    assert proposal.recipe.target.range == (0, 4)


@pytest.mark.parametrize(("gains", "scale"), [((1, 1.2), "none"), ((1, 3), "percentiles")])
def test_the_medians_of_mr_images_decide_on_a_scale(gains, scale):
    base = read_recipe("segment-anything-you-label")
    for given in (None, base):
        proposal, _ = proposal_for(mr(gains, labelled=True), given)
        assert proposal.recipe.preprocessing.standardisation == scale
    assert configured(base, mr(gains, labelled=True)).recipe == proposal.recipe
    assert "in 2 images" in why(proposal, "preprocessing.standardisation")


def test_subjects_named_test_do_not_decide_on_a_scale():
    cases = mr((1, 1.2, 5), labelled=True).cases
    held_out = dataclasses.replace(cases[2], split="test")
    proposal, _ = proposal_for(Cohort((*cases[:2], held_out), "mine"))
    assert proposal.recipe.preprocessing.standardisation == "none"


@pytest.mark.parametrize(
    "name", [None, "mr-t1-to-t2", "ct-body-composition", "segment-anything-you-label"]
)
def test_images_alone_are_no_targets_unless_a_base_makes_its_own_noise(name):
    base = None if name is None else read_recipe(name)
    with pytest.raises(CohortError, match=r"mine\.csv has images alone.*--recipe ct-denoise"):
        proposal_for(without_targets(), base)
    if base is not None and not base.is_configured:
        with pytest.raises(CohortError, match="images alone"):
            configured(base, without_targets())


def test_clean_images_are_their_own_targets_for_a_base_that_denoises():
    base = read_recipe("ct-denoise")
    # Few whole HU would be labels.
    rng = np.random.default_rng(0)
    cases = [
        dataclasses.replace(
            case,
            image=case.image.with_voxels(case.image.voxels + rng.normal(0, 9, (6, 24, 20))),
        )
        for case in without_targets().cases
    ]
    proposal, found = proposal_for(Cohort(tuple(cases), "mine"), base)
    assert found.kind == "volume"
    assert proposal.recipe.preprocessing.window == base.target.range


def test_the_command_refuses_images_alone(tmp_path, capfd):
    for case in without_targets().cases:
        (tmp_path / "cohort" / case.subject).mkdir(parents=True)
        write_image(case.read_image(), tmp_path / "cohort" / case.subject / "image.nrrd")
    command = ["propose", "--cohort", tmp_path / "cohort", "--output", tmp_path / "x.json"]
    for more in ([], ["--recipe", "mr-t1-to-t2"], ["--recipe", "ct-body-composition"]):
        assert main([*map(str, command), *more]) == 3
        assert "--recipe ct-denoise" in " ".join(capfd.readouterr()[1].split())
    assert not (tmp_path / "x.json").exists()


def test_the_command_proposes_what_python_does(tmp_path):
    pairs = mr((1, 3), labelled=True)
    for case in pairs.cases:
        (tmp_path / "cohort" / case.subject).mkdir(parents=True)
        write_image(case.read_image(), tmp_path / "cohort" / case.subject / "image.nrrd")
        write_image(case.read_target(), tmp_path / "cohort" / case.subject / "labels.nrrd")
    command = ["propose", "--cohort", tmp_path / "cohort", "--output", tmp_path / "mine.json"]
    assert main([*map(str, command)]) == 0
    expected, _ = proposal_for(pairs, name="mine")
    assert to_json(read_recipe(tmp_path / "mine.json")) == to_json(expected.recipe)
