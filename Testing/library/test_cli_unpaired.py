"""`deeptranslate evaluate-unpaired` and `evaluate_unpaired`: volumes, files, what is refused."""

import dataclasses
import json
import math
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_samples import labels_recipe, lps_affine, stored_as, volume_recipe
from safetensors.torch import save
from scipy import ndimage, stats
from torch import nn

from DeepTranslateLib.cli import main
from DeepTranslateLib.engine.features import feature_network
from DeepTranslateLib.engine.intensities import prepared_target
from DeepTranslateLib.engine.metrics.distributions import frechet_distance, kernel_distance
from DeepTranslateLib.engine.metrics.extractors import (
    ModelExtractor,
    SliceExtractor,
    random_extractor,
)
from DeepTranslateLib.engine.metrics.images import MetricError
from DeepTranslateLib.engine.metrics.selfsimilarity import (
    cycle_ssim,
    gradient_difference,
    normalised_self_ssim,
)
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.pretrained import PretrainedError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.unpairedevaluation import evaluate_unpaired
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.model import Card, write_model
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import BACKWARD, Input, Recipe, in_direction, write_recipe

SPACING = (7.8, 7.8, 20.0)


def ct(seed: int) -> Image:
    return torso(seed, slices=4, size=(64, 64), spacing=SPACING).image


def smoothed(image: Image) -> Image:
    return image.with_voxels(ndimage.gaussian_filter(image.voxels.astype(np.float32), (0, 1, 1)))


SOURCES = [ct(0), ct(1)]
TRANSLATED = [smoothed(image) for image in SOURCES]
REFERENCES = [ct(2), ct(3), ct(4)]


class AboveAir(nn.Module):
    """Labels whatever is brighter than the middle of the window."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images - 0.45]


def segmentor() -> Translator:
    return Translator(AboveAir(), labels_recipe(), torch.device("cpu"))


def model_file(path: Path, recipe: Recipe) -> Path:
    torch.manual_seed(0)
    card = Card("m", "2026-01-01T00:00:00+00:00", "0.1.0", epoch=1, seed=0)
    return write_model(path, recipe, card, save(build_network(recipe).state_dict()))


def test_volumes_get_the_metrics_of_their_voxels() -> None:
    cycled = [smoothed(image) for image in TRANSLATED]
    found = evaluate_unpaired(TRANSLATED, REFERENCES, inputs=SOURCES, cycled=cycled)
    for place, row in enumerate(found.structure):
        x, y, back = (each[place].voxels for each in (SOURCES, TRANSLATED, cycled))
        assert row.self_ssim == pytest.approx(normalised_self_ssim(x, y))
        assert row.gradient_difference == pytest.approx(
            gradient_difference(x, y, pixel_mm=SPACING[:2])
        )
        assert row.cycle_ssim == pytest.approx(cycle_ssim(x, back, (x.min(), x.max())))
    distances = found.distribution
    assert distances is not None
    mine, theirs = (
        np.concatenate([image.voxels.ravel() for image in side]).astype(float)
        for side in (TRANSLATED, REFERENCES)
    )
    assert distances.wasserstein == pytest.approx(stats.wasserstein_distance(mine, theirs), abs=0.1)
    assert distances.lowest == pytest.approx(np.percentile(theirs, 0.5), abs=2)
    assert distances.highest == pytest.approx(np.percentile(theirs, 99.5), abs=2)
    extractor = random_extractor((distances.lowest, distances.highest), SPACING[0])
    features = [
        np.concatenate([extractor.features(image) for image in side])
        for side in (TRANSLATED, REFERENCES)
    ]
    assert distances.kid == kernel_distance(*features)
    assert distances.fid == pytest.approx(frechet_distance(*features))
    assert distances.extractor == "random convolutions, seed 0"
    assert (distances.prediction_slices, distances.reference_slices) == (8, 12)
    assert found.agreement == ()


@pytest.mark.parametrize("orientation", ["RAS", "AIR"])
def test_nothing_depends_on_how_volumes_are_stored(orientation: str) -> None:
    masks = [image.with_voxels(image.voxels > -500) for image in TRANSLATED]
    expected = evaluate_unpaired(
        TRANSLATED, REFERENCES, inputs=SOURCES, prediction_masks=masks, segmentor=segmentor()
    )
    turned = evaluate_unpaired(
        [stored_as(image, orientation) for image in TRANSLATED],
        [stored_as(image, "SPL") for image in REFERENCES],
        inputs=[stored_as(image, "PIR") for image in SOURCES],
        prediction_masks=[stored_as(image, "RSA") for image in masks],
        segmentor=segmentor(),
    )
    for mine, theirs in zip(turned.structure, expected.structure, strict=True):
        assert astuple(mine) == pytest.approx(astuple(theirs), nan_ok=True)
    assert turned.distribution is not None
    assert expected.distribution is not None
    assert turned.distribution.wasserstein == pytest.approx(expected.distribution.wasserstein)
    assert turned.distribution.fid == pytest.approx(expected.distribution.fid)
    assert turned.distribution.kid.value == pytest.approx(expected.distribution.kid.value)
    assert turned.agreement == expected.agreement


def test_only_what_the_masks_leave_counts() -> None:
    masks = []
    for image in TRANSLATED:
        mask = np.zeros(image.shape, np.uint8)
        mask[1:, 20:40, 20:40] = 3
        masks.append(image.with_voxels(mask))
    reference_masks = [i.with_voxels((i.voxels > -500).astype(np.uint8)) for i in REFERENCES]
    found = evaluate_unpaired(
        TRANSLATED, REFERENCES, prediction_masks=masks, reference_masks=reference_masks
    )
    assert found.distribution is not None
    mine, theirs = (
        np.concatenate([i.voxels[m.voxels != 0] for i, m in zip(*side, strict=True)])
        for side in ((TRANSLATED, masks), (REFERENCES, reference_masks))
    )
    wanted = stats.wasserstein_distance(mine, theirs)
    assert found.distribution.wasserstein == pytest.approx(wanted, abs=0.1)
    assert found.distribution.prediction_slices == 6
    assert found.structure == ()


def test_slices_of_other_pixels_are_brought_to_one_size() -> None:
    fine = torso(0, slices=4, size=(128, 128), spacing=(3.9, 3.9, 20)).image
    (coarse,) = (extractor.features(fine) for extractor in [random_extractor((-1000, 400), 7.8)])
    same = random_extractor((-1000, 400), 7.8).features(ct(0))
    other = random_extractor((-1000, 400)).features(fine)
    assert np.abs(coarse - same).mean() < 0.4 * np.abs(other - same).mean()


def test_any_network_can_make_the_features() -> None:
    image = ct(0)
    means = SliceExtractor(lambda slices: slices, "means", (-1000, 1000), plane="coronal")
    found = means.features(image)
    wanted = ((image.voxels.clip(-1000, 1000) + 1000.0) / 2000).mean(axis=(0, 2))
    assert found.shape == (64, 1)
    assert found[:, 0] == pytest.approx(wanted)
    distribution = evaluate_unpaired([image], [ct(1)], extractor=means).distribution
    assert distribution is not None
    assert (distribution.extractor, distribution.prediction_slices) == ("means", 64)


def test_an_encoder_sees_slices_as_its_recipe_says(tmp_path: Path) -> None:
    recipe = labels_recipe(
        preprocessing={"window": [-200, 300], "spacing": 15.6},
        sampling={"plane": "axial", "context": 1},
    )
    path = model_file(tmp_path / "encoder.dtmodel", recipe)
    extractor = ModelExtractor(path)
    image = ct(0)
    network = feature_network(path, None, 1, torch.device("cpu"))
    slices = torch.from_numpy((image.voxels + 200.0) / 500).clamp(0, 1).float()[:, None]
    halved = nn.functional.avg_pool2d(slices, 2)
    wanted = network(halved).mean((2, 3))
    found = extractor.features(image)
    assert found.shape == (4, recipe.network.channels * 2)
    # Antialiasing weighs neighbours a little, where a mean over 2 x 2 pixels does not.
    assert np.abs(found - wanted.numpy()).mean() < 0.05 * np.abs(wanted.numpy()).mean()
    assert "encoder.dtmodel" in extractor.name
    assert "unet encoder" in extractor.name
    # The level is a field of recipes, and an option of the command line.
    with pytest.raises(PretrainedError, match=r"level 5 was asked for \(features_level\)"):
        ModelExtractor(path, level=5)
    patches = labels_recipe(
        network={"levels": 2, "channels": 2, "dimension": 3},
        sampling={"patch": [8, 16, 16]},
    )
    with pytest.raises(MetricError, match="patches"):
        ModelExtractor(model_file(tmp_path / "patches.dtmodel", patches))


def test_a_segmentation_agrees_where_the_translation_keeps_what_it_finds() -> None:
    (same,) = evaluate_unpaired(SOURCES, inputs=SOURCES, segmentor=segmentor()).agreement
    assert (same.name, same.dice, same.cases) == ("label 1", 1, (1, 1))
    shifted = [image.with_voxels(np.roll(image.voxels, 5, axis=2)) for image in SOURCES]
    (found,) = evaluate_unpaired(shifted, inputs=SOURCES, segmentor=segmentor()).agreement
    for place, (mine, theirs) in enumerate(zip(shifted, SOURCES, strict=True)):
        # The window is -1000 to 1000 HU.
        a, b = (image.voxels > -100 for image in (mine, theirs))
        assert found.cases[place] == pytest.approx(
            2 * (a & b).sum() / (a.sum() + b.sum()), abs=0.01
        )
    assert found.dice == pytest.approx(np.mean(found.cases), abs=0.02)
    assert 0.5 < found.dice < 0.97


def test_labels_count_inside_of_the_masks_alone() -> None:
    # Upside down in the first slice, which the masks leave out.
    changed = [i.with_voxels(np.concatenate([-i.voxels[:1], i.voxels[1:]])) for i in SOURCES]
    masks = [i.with_voxels((np.indices(i.shape)[0] > 0).astype(np.uint8)) for i in SOURCES]
    given = {"inputs": SOURCES, "segmentor": segmentor()}
    (whole,) = evaluate_unpaired(changed, **given).agreement
    (inside,) = evaluate_unpaired(changed, **given, prediction_masks=masks).agreement
    assert whole.dice < 0.9
    assert (inside.dice, inside.cases) == (1, (1, 1))
    unclear = [mask.with_voxels(np.full(mask.shape, np.nan, np.float32)) for mask in masks]
    with pytest.raises(MetricError, match="mask of prediction 1 says neither"):
        evaluate_unpaired(
            changed,
            labels=[m.with_voxels(np.ones_like(m.voxels)) for m in masks],
            segmentor=segmentor(),
            prediction_masks=unclear,
        )


def test_label_maps_of_the_inputs_stand_for_what_a_segmentor_would_find() -> None:
    truth = [i.with_voxels((10 * (i.voxels > -100)).astype(np.uint8)) for i in SOURCES]
    mr = [image.with_voxels(-image.voxels) for image in SOURCES]
    (found,) = evaluate_unpaired(SOURCES, inputs=mr, labels=truth, segmentor=segmentor()).agreement
    assert found.dice > 0.99
    with pytest.raises(MetricError, match="whole numbers from 0 to 255"):
        evaluate_unpaired(SOURCES, labels=mr, segmentor=segmentor())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictions": []}, "no prediction"),
        ({"references": []}, "alone say nothing"),
        ({"inputs": SOURCES[:1]}, "2 predictions and 1 inputs"),
        ({"cycled": SOURCES}, "Give them as well"),
        ({"inputs": SOURCES, "cycled_inputs": SOURCES}, "Give it as well"),
        ({"inputs": REFERENCES[:2], "cycled": SOURCES[:1]}, "1 cycled volumes"),
        ({"reference_masks": REFERENCES[:2]}, "3 references and 2 masks"),
        ({"segmentor": segmentor()}, "nothing to agree with"),
        ({"labels": SOURCES}, "Give a model that segments"),
        ({"inputs": [SOURCES[0], torso(9, slices=2, size=(32, 32)).image]}, "grid of the input 2"),
        ({"value_range": (5, 5)}, "range of values"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict, message: str) -> None:
    given = {"predictions": TRANSLATED, "references": REFERENCES, **changes}
    with pytest.raises(MetricError, match=message):
        evaluate_unpaired(**given)


def test_a_model_that_makes_volumes_and_masks_of_nothing_are_refused() -> None:
    volumes = Translator(AboveAir(), volume_recipe(), torch.device("cpu"))
    with pytest.raises(MetricError, match="not labels"):
        evaluate_unpaired(SOURCES, inputs=SOURCES, segmentor=volumes)
    nothing = [image.with_voxels(np.zeros(image.shape, np.uint8)) for image in TRANSLATED]
    with pytest.raises(MetricError, match="two slices"):
        evaluate_unpaired(TRANSLATED, REFERENCES, prediction_masks=nothing)
    empty = [image.with_voxels(np.zeros(image.shape, np.uint8)) for image in REFERENCES]
    with pytest.raises(MetricError, match="No voxel"):
        evaluate_unpaired(TRANSLATED, REFERENCES, prediction_masks=nothing, reference_masks=empty)
    voxels = np.ones(REFERENCES[0].shape, np.float32)
    voxels[0, 0, 0] = np.nan
    unclear = [REFERENCES[0].with_voxels(voxels), *empty[1:]]
    with pytest.raises(MetricError, match="mask of reference 1 says neither inside nor outside"):
        evaluate_unpaired(TRANSLATED, REFERENCES, reference_masks=unclear)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, images in (("mr", SOURCES), ("synthetic", TRANSLATED), ("ct", REFERENCES)):
        for number, image in enumerate(images):
            write_image(image, tmp_path / f"{name}{number}.nrrd")
    return tmp_path


def command(*arguments: object) -> int:
    return main(["evaluate-unpaired", *map(str, arguments)])


PREDICTIONS = ("--prediction", "synthetic0.nrrd", "synthetic1.nrrd")
DOMAIN = ("--reference", "ct0.nrrd", "ct1.nrrd", "ct2.nrrd")
INPUTS = ("--input", "mr0.nrrd", "mr1.nrrd")


def test_the_command_answers_what_the_function_finds(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_recipe(volume_recipe(), place / "recipe.json")
    assert command(*PREDICTIONS, *DOMAIN, *INPUTS, "--recipe", "recipe.json", "--json") == 0
    out, err = capfd.readouterr()
    assert err == ""
    (result,) = (json.loads(line) for line in out.splitlines())
    images = [[read_image(place / name) for name in names[1:]] for names in
              (PREDICTIONS, DOMAIN, INPUTS)]  # fmt: skip
    wanted = evaluate_unpaired(images[0], images[1], inputs=images[2], value_range=(-1000, 1000))
    assert result["event"] == "result"
    assert (result["units"], result["plane"]) == ("HU", "axial")
    assert result["prediction"] == list(PREDICTIONS[1:])
    assert result["cycled"] == []
    assert wanted.distribution is not None
    assert result["distribution"]["kid"]["value"] == wanted.distribution.kid.value
    assert result["distribution"]["extractor"] == "random convolutions, seed 0"
    assert result["structure"][1]["self_ssim"] == wanted.structure[1].self_ssim
    assert result["structure"][1]["cycle_ssim"] is None
    assert math.isnan(wanted.structure[1].cycle_ssim)
    assert result["agreement"] == []


def test_references_come_to_the_scale_that_translations_of_the_recipe_are_on(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = {"units": "", "modality": "MR", "standardisation": "percentiles", "range": [-0.3, 1.2]}
    recipe = volume_recipe(target={"kind": "volume", **target})
    write_recipe(recipe, place / "recipe.json")
    stored = read_image(place / DOMAIN[1])
    stored = stored.with_voxels(stored.voxels.astype(np.float32) + 1200)
    # Patients of whom one scanner gives three times what the other does, and 100 more.
    other = stored.with_voxels(stored.voxels * 3 + 100)
    write_image(prepared_target(stored, recipe), place / "translated.nrrd")
    for number, image in enumerate((stored, other)):
        write_image(image, place / f"reference{number}.nrrd")
        arguments = ("--prediction", "translated.nrrd", "--reference", f"reference{number}.nrrd")
        assert command(*arguments, "--recipe", "recipe.json", "--json") == 0
        (result,) = (json.loads(line) for line in capfd.readouterr().out.splitlines())
        assert result["distribution"]["wasserstein"] == pytest.approx(0, abs=1e-5)


def test_translations_back_are_of_the_kind_that_the_recipe_reads(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = {"units": "", "modality": "MR", "standardisation": "percentiles", "range": [-0.3, 1.2]}
    recipe = volume_recipe(target=target, preprocessing={"window": [-900, 700]})
    write_recipe(recipe, place / "recipe.json")
    given = (*PREDICTIONS, *DOMAIN, "--recipe", "recipe.json", "--json")
    assert command(*given, "--direction", "target-to-source") == 0
    (result,) = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    wanted = evaluate_unpaired(TRANSLATED, REFERENCES, value_range=(-900, 700))
    assert wanted.distribution is not None
    assert (result["direction"], result["units"]) == ("target-to-source", "HU")
    assert (result["distribution"]["lowest"], result["distribution"]["highest"]) == (-900, 700)
    assert result["distribution"]["wasserstein"] == wanted.distribution.wasserstein
    assert result["distribution"]["kid"]["value"] == wanted.distribution.kid.value


def test_a_cycle_is_measured_on_the_scale_that_its_images_come_back_on(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A way back ends on the input's standard scale, where the recipe has one."""
    recipe = volume_recipe(method={"name": "cyclegan", "loss": "mae"}, training={"monitor": "last"})
    preprocessing = dataclasses.replace(
        recipe.preprocessing, window=(-0.3, 1.2), standardisation="percentiles"
    )
    recipe = dataclasses.replace(
        recipe, inputs=(Input("image", "MR"),), preprocessing=preprocessing
    )
    write_recipe(recipe, place / "recipe.json")
    mr = SOURCES[0].with_voxels(SOURCES[0].voxels.astype(np.float32) * 3 + 5000)
    write_image(mr, place / "mr.nrrd")
    write_image(prepared_target(mr, in_direction(recipe, BACKWARD)), place / "cycled.nrrd")
    given = ("--prediction", "synthetic0.nrrd", "--input", "mr.nrrd", "--cycled", "cycled.nrrd")
    assert command(*given, "--recipe", "recipe.json", "--json") == 0
    (result,) = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert result["structure"][0]["cycle_ssim"] == pytest.approx(1)
    wanted = evaluate_unpaired([TRANSLATED[0]], inputs=[mr]).structure[0]
    assert result["structure"][0]["self_ssim"] == pytest.approx(wanted.self_ssim)
    # The other way round CT comes back, whose HU are on no other scale.
    given = ("--prediction", "mr.nrrd", "--input", "mr0.nrrd", "--cycled", "mr0.nrrd", "--json")
    assert command(*given, "--recipe", "recipe.json", "--direction", "target-to-source") == 0
    (result,) = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert result["structure"][0]["cycle_ssim"] == pytest.approx(1)


def test_labels_that_the_segmentor_does_not_know_are_warned_of(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = model_file(place / "labels.dtmodel", labels_recipe())
    image = read_image(place / "mr0.nrrd")
    voxels = np.zeros(image.shape, np.float32)
    known = labels_recipe().target.labels[0].value
    voxels[0, 0, :3] = known, 7, 9
    assert known not in (7, 9)
    write_image(image.with_voxels(voxels), place / "tissue.nrrd")
    files = ("--prediction", "synthetic0.nrrd", "--labels", "tissue.nrrd")
    assert command(*files, "--segmentor", path, "--device", "cpu") == 0
    text = " ".join(capfd.readouterr().err.split())
    assert "tissue.nrrd holds values that the recipe 'tiny' does not know: 7, 9." in text


def test_people_read_tables(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = model_file(place / "labels.dtmodel", labels_recipe())
    assert command(*PREDICTIONS, *DOMAIN, *INPUTS, "--cycled", "mr0.nrrd", "mr1.nrrd",
                   "--segmentor", path, "--features", path, "--features-level", 0,
                   "--device", "cpu") == 0  # fmt: skip
    out, _ = capfd.readouterr()
    for text in ("NSelfSSIM", "DIG (SD/mm)", "SSIM of the cycle", "synthetic1", "Wasserstein"):
        assert text in out
    for text in ("KID (unet encoder level 0 of labels.dtmodel", "label 1", "8 and 12 slices"):
        assert text in out
    assert command(*PREDICTIONS, *INPUTS) == 0
    out, _ = capfd.readouterr()
    assert "NSelfSSIM" in out
    assert "cycle" not in out
    assert "KID" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "alone say nothing"),
        ((*INPUTS, "--features", "m.dtmodel"), "Give --reference"),
        ((*DOMAIN, "--features-level", 1), "Give a model"),
        ((*DOMAIN, "--features", "ct0.nrrd"), "ct0.nrrd"),
        ((*DOMAIN, "--recipe", "ct-body-composition"), "makes labels"),
        ((*DOMAIN, "--direction", "target-to-source"), "Give --recipe"),
        ((*DOMAIN, "--input", "mr0.nrrd"), "2 predictions and 1 inputs"),
        (("--reference", "nowhere.nrrd"), "nowhere.nrrd"),
    ],
)
def test_the_command_says_what_is_wrong(
    place: Path, capfd: pytest.CaptureFixture[str], arguments: tuple, message: str
) -> None:
    assert command(*PREDICTIONS, *arguments) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert message in " ".join(err.split())
    assert "unexpected" not in err


def test_a_volume_with_voxels_that_are_no_numbers_is_refused() -> None:
    voxels = np.zeros((3, 16, 16), np.float32)
    voxels[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="prediction 1 are no numbers"):
        evaluate_unpaired([Image(voxels, lps_affine())], REFERENCES)
