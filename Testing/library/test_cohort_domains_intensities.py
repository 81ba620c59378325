"""Cohorts with two domains: histogram matching and standard scales, without pairs."""

import numpy as np
import pytest
from domain_samples import AFFINE, UNPAIRED, image, mr

from DeepTranslateLib.cohort import Case
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.intensities import with_landmarks
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import recipe_from_json


def matched(source, target, cases=None):
    """What histogram matching makes of a source image."""
    cases = cases or [
        Case("a", source, None, domain="source"),
        Case("b", target, None, domain="target"),
    ]
    slices = range(source.shape[0])
    baseline = IntensityBaseline(UNPAIRED, cases, [slices] * len(cases))
    (name,) = baseline.tables
    assert name == "histogram matching"
    return baseline.translate(source, slices)[name].voxels


@pytest.mark.parametrize("curve", [lambda y: y, np.square, np.sqrt])
def test_histogram_matching_undoes_a_rising_curve_without_pairs(curve):
    rng = np.random.default_rng(4)
    share = rng.uniform(0, 1, (6, 32, 32))
    source = Image(1000 * curve(share), AFFINE)
    target = Image(rng.permutation(share.ravel()).reshape(share.shape) * 1500 - 1000, AFFINE)
    truth = share * 1500 - 1000
    # A bin of the source spans at most what the steepest curve makes of a 256th.
    assert np.abs(matched(source, target) - truth).max() < 1500 / 16 + 10
    assert np.abs(matched(source, target) - truth).mean() < 10


def test_histogram_matching_counts_what_masks_leave():
    target = image(1, -1000, 0)
    half = np.zeros(target.shape, np.uint8)
    half[..., :4] = 1
    brightened = target.voxels.copy()
    brightened[..., 4:] = 900
    cases = [
        Case("a", mr(0), None, domain="source"),
        Case("b", Image(brightened, AFFINE), None, mask=Image(half, AFFINE), domain="target"),
    ]
    assert matched(mr(0), target, cases).max() <= 0


def test_standard_scales_are_learnt_from_the_images_of_their_domain():
    recipe = recipe_from_json(
        {
            "name": "t1-to-t2",
            "target": {"kind": "volume", "range": [0, 1], "standardisation": "histogram"},
            "preprocessing": {"window": [0, 1], "standardisation": "histogram"},
            "method": {"name": "cyclegan", "loss": "mae"},
            "training": {"monitor": "last"},
        }
    )
    rng = np.random.default_rng(0)
    first, second = (
        [Image(rng.gamma(shape, 100, (6, 16, 16)), AFFINE) for _ in range(3)] for shape in (2, 9)
    )
    unpaired = [Case(f"s{i}", each, None, domain="source") for i, each in enumerate(first)]
    unpaired += [Case(f"t{i}", each, None, domain="target") for i, each in enumerate(second)]
    pairs = [Case(f"p{i}", *both) for i, both in enumerate(zip(first, second, strict=True))]
    found, expected = with_landmarks(recipe, unpaired), with_landmarks(recipe, pairs)
    assert found.preprocessing.landmarks == expected.preprocessing.landmarks
    assert found.target.landmarks == expected.target.landmarks
    assert found.target.landmarks != found.preprocessing.landmarks
