"""Trained networks whose features and labels losses are of: the right file, and never changed."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine_samples import labels_recipe, volume_recipe
from safetensors.torch import save, save_file
from torch import Tensor

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.engine.features import feature_network
from DeepTranslateLib.engine.losses.perceptual import perceptual
from DeepTranslateLib.engine.losses.shape_consistency import shape_consistency
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.pretrained import PretrainedError
from DeepTranslateLib.engine.segmentor import refuse_other_labels, segmentation_network
from DeepTranslateLib.model import Card, ModelError, write_model
from DeepTranslateLib.recipe import Recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

CPU = torch.device("cpu")


def written(folder: Path, recipe: Recipe, name: str = "model") -> Path:
    """A model file with random weights."""
    torch.manual_seed(0)
    card = Card(name, "2026-01-01T00:00:00+00:00", "0.1.0", epoch=1, seed=0)
    weights = save(build_network(recipe).state_dict())
    return write_model(folder / f"{name}.dtmodel", recipe, card, weights)


def network_of(recipe: Recipe) -> Any:
    torch.manual_seed(0)
    return build_network(recipe).eval()


def three_levels(**network: Any) -> Recipe:
    return labels_recipe(2, network={"name": "unet", "levels": 3, "channels": 2, **network})


def volumetric(recipe: Recipe) -> Recipe:
    return dataclasses.replace(
        recipe,
        network=dataclasses.replace(recipe.network, dimension=3),
        sampling=dataclasses.replace(recipe.sampling, patch=(8, 8, 8)),
    )


@pytest.mark.parametrize("level", [0, 1, 2])
def test_features_of_a_unet_are_those_that_its_encoder_has_at_a_level(
    tmp_path: Path, level: int
) -> None:
    recipe = three_levels(norm="batch")
    path = written(tmp_path, recipe)
    features = feature_network(path, file_sha256(path), level, CPU)
    image = torch.rand(2, 1, 9, 8)
    network, expected = network_of(recipe), image
    with torch.no_grad():
        for number, block in enumerate(network.encoder[: level + 1]):
            if number:
                expected = F.max_pool2d(expected, 2, ceil_mode=True)
            expected = block(expected)
        torch.testing.assert_close(features(image), expected)
    assert features(image).shape == (2, 2 * 2**level, -(-9 // 2**level), 8 // 2**level)


@pytest.mark.parametrize(
    ("network", "coarsest"),
    [
        ({"name": "basicunet", "levels": 5}, 4),
        ({"name": "dynunet", "levels": 3}, 2),
        ({"name": "segresnet", "levels": 2, "channels": 8}, 1),
        ({"name": "resnet", "levels": 3, "blocks": [2]}, 2),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_other_networks_have_features_that_halve_at_each_level(
    tmp_path: Path, network: dict[str, Any], coarsest: int
) -> None:
    path = written(tmp_path, labels_recipe(2, network={"channels": 2, "norm": "none", **network}))
    image = torch.rand(1, 1, 32, 32)
    for level in range(coarsest + 1):
        assert feature_network(path, None, level, CPU)(image).shape[2:] == (32 // 2**level,) * 2
    with pytest.raises(PretrainedError, match=f"levels 0 to {coarsest}, and level {coarsest + 1}"):
        feature_network(path, None, coarsest + 1, CPU)


def test_features_are_of_a_model_that_makes_volumes_or_says_what_to_change_too(
    tmp_path: Path,
) -> None:
    recipe = volume_recipe(network={"levels": 2, "channels": 2, "residual": True})
    features = feature_network(written(tmp_path, recipe), None, 1, CPU)
    assert features(torch.rand(1, 1, 8, 8)).shape == (1, 4, 4, 4)


def test_a_network_of_slices_sees_patches_slice_by_slice(tmp_path: Path) -> None:
    features = feature_network(written(tmp_path, three_levels()), None, 1, CPU)
    patches = torch.rand(2, 1, 3, 8, 8)
    found = features(patches)
    assert found.shape == (6, 4, 4, 4)
    torch.testing.assert_close(found[4:5], features(patches[1:, :, 1]))


def test_a_network_of_volumes_sees_patches_and_refuses_slices(tmp_path: Path) -> None:
    path = written(tmp_path, volumetric(three_levels()))
    features = feature_network(path, None, 1, CPU)
    assert features(torch.rand(1, 1, 8, 8, 8)).shape == (1, 4, 4, 4, 4)
    with pytest.raises(PretrainedError, match="takes patches of volumes, and the images are"):
        features(torch.rand(1, 1, 8, 8))


def test_a_network_that_looks_at_neighbours_sees_each_slice_as_its_own(tmp_path: Path) -> None:
    recipe = three_levels()
    recipe = dataclasses.replace(recipe, sampling=dataclasses.replace(recipe.sampling, context=1))
    features = feature_network(written(tmp_path, recipe), None, 0, CPU)
    image = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        expected = network_of(recipe).encoder[0](torch.cat([image, image, image], dim=1))
    torch.testing.assert_close(features(image), expected)


def test_nothing_changes_a_feature_network_and_gradients_pass_through_it(tmp_path: Path) -> None:
    features = feature_network(written(tmp_path, three_levels(norm="batch")), None, 2, CPU)
    before = {name: value.clone() for name, value in features.state_dict().items()}
    features.train()
    assert not any(module.training for module in features.modules())
    output, reference = torch.rand(2, 1, 1, 8, 8)
    output.requires_grad_()
    for _ in range(2):
        perceptual(features, output, reference).backward()
    assert output.grad is not None
    assert output.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in features.parameters())
    after = features.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_perceptual_loss_by_a_model_is_zero_for_the_same_image_and_no_other(
    tmp_path: Path,
) -> None:
    features = feature_network(written(tmp_path, three_levels()), None, 1, CPU)
    image = torch.rand(1, 1, 8, 8)
    assert float(perceptual(features, image, image)) == 0
    assert float(perceptual(features, image.flip(3), image)) > 0


@pytest.mark.parametrize("kind", ["model", "vgg", "segmentor"])
def test_what_judges_computes_in_full_precision_also_under_autocast(
    tmp_path: Path, vgg: tuple[Path, dict[str, Tensor]], kind: str
) -> None:
    path = written(tmp_path, three_levels())
    judge: Any = {
        "model": lambda: feature_network(path, None, 1, CPU),
        "vgg": lambda: feature_network(vgg[0], None, 0, CPU),
        "segmentor": lambda: segmentation_network(path, None, (-1500.0, 2500.0), CPU),
    }[kind]()
    image = torch.rand(2, 1, 8, 8)
    patches = torch.rand(1, 1, 3, 8, 8)
    # What a translating network gives under autocast.
    half = image.bfloat16()
    shown = (image, patches, half)
    expected = [judge(each.float()) for each in shown]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [judge(each) for each in shown]
        assert torch.is_autocast_enabled("cpu")
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, theirs)


VGG_CONVOLUTIONS = {  # torchvision's numbers of vgg16().features
    0: (3, 64), 2: (64, 64),
    5: (64, 128), 7: (128, 128),
    10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512),
    24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
LAST_OF_LEVEL = (2, 7, 14, 21, 28)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """Random weights under the names of VGG-16's, up to the end of its third level."""
    torch.manual_seed(0)
    weights = {"classifier.0.weight": torch.rand(2, 2)}
    for number, (channels, width) in VGG_CONVOLUTIONS.items():
        if number <= LAST_OF_LEVEL[2]:
            weights[f"features.{number}.weight"] = torch.randn(width, channels, 3, 3) / 30
            weights[f"features.{number}.bias"] = torch.randn(width) / 10
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file(weights, path)
    return path, weights


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_page_converts_the_weights_that_torchvision_has(
    tmp_path: Path,
    vgg: tuple[Path, dict[str, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    legacy: bool,
) -> None:
    expected, weights = vgg
    page = Path(__file__).parents[2] / "docs" / "adversarial.md"
    (lines,) = re.findall(r"```python\n(.*?save_file.*?)```", page.read_text("utf-8"), re.DOTALL)
    # As `state_dict` gives them, or as parameters; in the file format of either age.
    state = OrderedDict((name, torch.nn.Parameter(each)) for name, each in weights.items())
    monkeypatch.chdir(tmp_path)
    torch.save(state, "vgg16-397923af.pth", _use_new_zipfile_serialization=not legacy)
    exec(lines, {})
    image = torch.rand(1, 1, 8, 8)
    for level in range(3):
        mine = feature_network("vgg16.safetensors", None, level, CPU)
        assert torch.equal(mine(image), feature_network(expected, None, level, CPU)(image))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_vgg_is_its_published_layers_on_the_colours_of_its_images(
    vgg: tuple[Path, dict[str, Tensor]], level: int
) -> None:
    path, weights = vgg
    image = torch.rand(2, 1, 12, 8)
    features = feature_network(path, file_sha256(path), level, CPU)
    values = (image.repeat(1, 3, 1, 1) - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / (
        torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    )
    for number in (n for n in VGG_CONVOLUTIONS if n <= LAST_OF_LEVEL[level]):
        if number in (5, 10):
            values = F.max_pool2d(values, 2)
        weight, bias = (weights[f"features.{number}.{kind}"] for kind in ("weight", "bias"))
        values = F.conv2d(values, weight, bias, padding=1).relu()
    torch.testing.assert_close(features(image), values)
    assert features(image[:, :, None]).shape == values.shape


def test_all_of_vgg_has_the_parameters_and_names_that_are_published() -> None:
    from DeepTranslateLib.engine.features import _VGG

    shapes = {name: tuple(each.shape) for name, each in _VGG(4).state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {}
    for number, (channels, width) in VGG_CONVOLUTIONS.items():
        expected[f"features.{number}.weight"] = (width, channels, 3, 3)
        expected[f"features.{number}.bias"] = (width,)
    assert shapes == expected
    # torchvision's vgg16 has 138,357,544 parameters, 123,642,856 of them in three dense layers.
    assert sum(each.numel() for each in _VGG(4).parameters()) == 138_357_544 - 123_642_856


def test_vgg_weights_that_are_none_are_refused(
    tmp_path: Path, vgg: tuple[Path, dict[str, Tensor]]
) -> None:
    path, weights = vgg
    with pytest.raises(PretrainedError, match=r"expected 'features.17.weight' .* found nothing"):
        feature_network(path, None, 3, CPU)
    with pytest.raises(PretrainedError, match=r"levels 0 to 4, and level 5"):
        feature_network(path, None, 5, CPU)
    other = tmp_path / "other.safetensors"
    save_file({**weights, "features.2.bias": torch.zeros(3)}, other)
    with pytest.raises(PretrainedError, match=r"'features.2.bias' of shape \(64,\), found \(3,\)"):
        feature_network(other, None, 0, CPU)
    other.write_bytes(b"no safetensors")
    with pytest.raises(PretrainedError, match=r"other\.safetensors cannot be read"):
        feature_network(other, None, 0, CPU)
    features = feature_network(path, None, 2, CPU)
    with pytest.raises(PretrainedError, match=r"3x8 pixels are too small .* needs 4"):
        features(torch.rand(1, 1, 3, 8))


def test_what_is_missing_or_another_is_refused_and_nothing_is_downloaded(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, three_levels())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == digest
    feature_network(path, digest.upper(), 0, CPU)
    with pytest.raises(PretrainedError, match=f"SHA-256 is {digest}, expected {'0' * 64}"):
        feature_network(path, "0" * 64, 0, CPU)
    for level in (-1, 3):
        with pytest.raises(PretrainedError, match=f"levels 0 to 2, and level {level} was asked"):
            feature_network(path, digest, level, CPU)
    with pytest.raises(PretrainedError, match="SHA-256"):
        segmentation_network(path, "0" * 64, None, CPU)
    for missing in (tmp_path / "none.dtmodel", tmp_path):
        with pytest.raises(PretrainedError, match=r"does not exist\. Nothing is downloaded"):
            feature_network(missing, None, 0, CPU)
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        stream.write(b"damage")
    with pytest.raises(PretrainedError, match="is not the file that the recipe was made with"):
        feature_network(path, digest, 0, CPU)
    with pytest.raises(ModelError):
        feature_network(path, None, 0, CPU)


def test_networks_without_encoder_and_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "weights.pth"
    other.write_bytes(b"pickled")
    with pytest.raises(PretrainedError, match=r"\.dtmodel\) or of VGG-16 .* not of weights\.pth"):
        feature_network(other, None, 0, CPU)
    recipe = volume_recipe(
        network={"name": "restormer", "levels": 2, "channels": 4, "norm": "none", "blocks": [1, 1]}
    )
    pytest.importorskip("einops")
    with pytest.raises(PretrainedError, match="is a restormer, which has no encoder"):
        feature_network(written(tmp_path, recipe), None, 0, CPU)


def test_features_say_what_they_are_of(tmp_path: Path, vgg: tuple[Path, Any]) -> None:
    path = written(tmp_path, three_levels(), "brain")
    digits = file_sha256(path)[:8]
    expected = f"unet encoder level 1 of brain.dtmodel (SHA-256 {digits})"
    assert feature_network(path, None, 1, CPU).description == expected
    assert feature_network(vgg[0], None, 0, CPU).description.startswith("VGG-16 level 0 of vgg16")


def test_a_segmentor_gives_the_logits_of_its_model(tmp_path: Path) -> None:
    recipe = three_levels()
    segmentor = segmentation_network(written(tmp_path, recipe), None, None, CPU)
    image = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        expected = network_of(recipe)(image)[0]
    torch.testing.assert_close(segmentor(image), expected)
    torch.testing.assert_close(segmentor.labels(image), expected.sigmoid())
    assert not segmentor.exclusive
    patches = torch.rand(2, 1, 3, 8, 8)
    found = segmentor(patches)
    assert found.shape == (2, 2, 3, 8, 8)
    torch.testing.assert_close(found[1, :, 0], segmentor(patches[1:, :, 0])[0])


def test_a_segmentor_of_exclusive_labels_says_so(tmp_path: Path) -> None:
    recipe = labels_recipe(2, method={"loss": "cross_entropy"})
    segmentor = segmentation_network(written(tmp_path, recipe), None, None, CPU)
    assert segmentor.exclusive
    image = torch.rand(1, 1, 8, 8)
    logits = segmentor(image)
    with_none = torch.cat([torch.zeros(1, 1, 8, 8), logits], dim=1)
    torch.testing.assert_close(segmentor.labels(image), with_none.softmax(dim=1)[:, 1:])


def test_a_segmentor_sees_the_same_hu_whatever_the_window_of_the_images(tmp_path: Path) -> None:
    segmentor_path = written(tmp_path, three_levels())  # trained in -1000 to 1000 HU
    hu = torch.rand(1, 1, 8, 8) * 3000 - 1200
    narrow = segmentation_network(segmentor_path, None, (-1500.0, 2500.0), CPU)
    own = segmentation_network(segmentor_path, None, (-1000.0, 1000.0), CPU)
    expected = own(((hu + 1000) / 2000).clamp(0, 1))
    torch.testing.assert_close(narrow((hu + 1500) / 4000), expected, rtol=1e-4, atol=1e-4)


def test_shape_consistency_by_a_segmentor_moves_the_image_and_not_the_segmentor(
    tmp_path: Path,
) -> None:
    segmentor = segmentation_network(written(tmp_path, three_levels()), None, None, CPU)
    source = torch.rand(1, 1, 8, 8)
    output = source.flip(3).requires_grad_()
    everywhere = torch.ones(1, 1, 8, 8)
    labels = segmentor.labels(source)
    loss = shape_consistency(segmentor(output), labels, everywhere, segmentor.exclusive)
    loss.backward()
    assert output.grad is not None
    assert output.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in segmentor.parameters())
    least = shape_consistency(segmentor(source), labels, everywhere, segmentor.exclusive)
    assert float(least.detach()) < float(loss.detach())


def test_what_makes_volumes_is_no_segmentor(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="makes a volume; a segmentor makes labels"):
        segmentation_network(written(tmp_path, volume_recipe()), None, None, CPU)


def standardised(landmarks: list[float] | None = None, kind: str = "histogram") -> Recipe:
    content: Any = to_json(labels_recipe(2, network={"levels": 2, "channels": 2}))
    content["inputs"][0] = {"name": "image", "modality": "MR", "units": ""}
    content["preprocessing"] |= {"standardisation": kind, "window": [0, 1], "landmarks": landmarks}
    return recipe_from_json(content)


def test_a_segmentor_of_images_that_are_standardised_otherwise_is_refused(tmp_path: Path) -> None:
    marks = [float(n) for n in range(11)]
    plain = written(tmp_path, three_levels(), "plain")
    median = written(tmp_path, standardised(kind="median"), "median")
    histogram = written(tmp_path, standardised(marks), "histogram")
    for path, scale, read, shown in (
        (median, ("none", None), "standardised by 'median'", "not standardised"),
        (plain, ("median", None), "not standardised", "standardised by 'median'"),
        (median, ("percentiles", None), "by 'median'", "by 'percentiles'"),
        (median, ("histogram", None), "by 'median'", "by 'histogram'\\."),
        (
            histogram,
            ("histogram", (0.0, *marks[2:], 12.0)),
            "with the landmarks 0, 1, .*, 10",
            "with the landmarks 0, 2, .*, 12",
        ),
    ):
        with pytest.raises(PretrainedError, match=f"{read}, and .* {shown}.*the same stand"):
            segmentation_network(path, None, (0.0, 1.0), CPU, scale)
    segmentation_network(median, None, (0.0, 1.0), CPU, ("median", None))
    segmentation_network(histogram, None, (0.0, 1.0), CPU, ("histogram", tuple(marks)))
    # Landmarks that the recipe is still to get.
    segmentation_network(histogram, None, (0.0, 1.0), CPU, ("histogram", None))


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (labels_recipe(1), r"10 label 1 \(each by itself\)"),
        (labels_recipe(2, method={"loss": "cross_entropy"}), r"label 2 \(one at most\)"),
        (
            labels_recipe(
                2, target={"labels": [{"value": 20, "name": "b"}, {"value": 10, "name": "a"}]}
            ),
            "20 b, 10 a",
        ),
    ],
    ids=["fewer", "exclusive", "others"],
)
def test_two_segmentors_that_find_different_things_are_refused(
    tmp_path: Path, other: Recipe, found: str
) -> None:
    first = segmentation_network(written(tmp_path, labels_recipe(2), "one"), None, None, CPU)
    second = segmentation_network(written(tmp_path, other, "two"), None, None, CPU)
    refuse_other_labels(first, first)
    expected = r"Expected, as of .*one.dtmodel: 10 label 1, 20 label 2 \(each by itself\)"
    with pytest.raises(PretrainedError, match=rf"{expected}\. Found in .*two.dtmodel: .*{found}"):
        refuse_other_labels(first, second)
