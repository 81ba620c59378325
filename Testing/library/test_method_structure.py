"""The terms that hold the structure of an image, and the models that judge it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from adversarial_samples import (
    CPU,
    about,
    batch,
    cohort,
    draws,
    l1,
    model_file,
    pairs,
    recipe_of,
    stepped,
)
from engine_samples import labels_recipe
from safetensors.torch import load
from torch import Tensor

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.structure import check_structure
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.pretrained import PretrainedError
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.model import read_model


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A U-Net whose features count, and a segmentor, both of -1000 to 1000 HU."""
    folder = tmp_path_factory.mktemp("judges")
    network = {"levels": 3, "channels": 2}
    features = labels_recipe(1, network=network)
    return {
        "features": model_file(folder, features, "features"),
        "segmentor": model_file(folder, labels_recipe(2, network=network), "segmentor"),
    }


def loaded(path: Path) -> Any:
    model = read_model(path)
    network: Any = build_network(model.recipe)
    network.load_state_dict(load(model.weights()))
    return network.eval()


def structure(judges: dict[str, Path]) -> dict[str, Any]:
    return {
        "perceptual_weight": 2,
        "latent_weight": 3,
        "air_weight": 4,
        "gradient_weight": 5,
        "shape_weight": 6,
        "features": str(judges["features"]),
        "features_sha256": file_sha256(judges["features"]),
        "features_level": 1,
        "segmentor": str(judges["segmentor"]),
        "segmentor_sha256": file_sha256(judges["segmentor"]),
    }


def edges_alike(x: Tensor, y: Tensor) -> Tensor:
    """Hiasa et al. 2018: correlations of absolute differences, averaged over images and axes."""
    found = []
    for axis in (1, 2):
        for mine, theirs in zip(x, y, strict=True):
            both = torch.stack([values.diff(dim=axis).abs().flatten() for values in (mine, theirs)])
            found.append(torch.corrcoef(both)[0, 1])
    return 1 - torch.stack(found).mean()


def test_structure_preserving_cyclegan_has_each_term_on_both_ways(judges: dict[str, Path]) -> None:
    recipe = recipe_of("cyclegan", structure=structure(judges))
    shown = batch()
    # Some of either is air.
    shown = Batch(shown.images * 0.6, shown.targets * 0.7, shown.mask)
    method, turns, found = stepped(recipe, shown)
    x, y = shown.images, shown.targets
    there, back = method.networks["there"], method.networks["back"]
    g_x, f_y = there(x)[0].detach(), back(y)[0].detach()

    network, seen = loaded(judges["features"]), []
    network.encoder[1].register_forward_hook(lambda module, given, made: seen.append(made))
    for images in (g_x, x, f_y, y):
        network(images)
    felt = [(a - b).square().mean() for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert [float(found[f"perceptual {way}"]) for way in ("there", "back")] == [
        about(2 * each) for each in felt
    ]

    def hu(images: Tensor, high: float) -> Tensor:
        return images * (high + 1000) - 1000

    x_air, g_air = (hu(x, 1000) <= -600), (hu(g_x, 500) <= -600)
    y_air, f_air = (hu(y, 500) <= -600), (hu(f_y, 1000) <= -600)
    assert 0 < x_air.float().mean() < 1
    assert 0 < y_air.float().mean() < 1
    # -600 HU are 0.2 of one window and 4/15 of the other.
    forth = ((x_air != g_air) * ((x - 0.2) - (g_x - 4 / 15)).abs()).mean()
    backwards = ((y_air != f_air) * ((y - 4 / 15) - (f_y - 0.2)).abs()).mean()
    assert float(found["air there"]) == about(4 * forth)
    assert float(found["air back"]) == about(4 * backwards)

    assert float(found["gradient there"]) == pytest.approx(
        float(5 * edges_alike(x, g_x).detach()), rel=1e-4
    )
    assert float(found["gradient back"]) == pytest.approx(
        float(5 * edges_alike(y, f_y).detach()), rel=1e-4
    )

    labeller = loaded(judges["segmentor"])

    def logits(images: Tensor, high: float) -> Tensor:
        return labeller(((hu(images, high) + 1000) / 2000).clamp(0, 1))[0]

    shape = F.binary_cross_entropy_with_logits
    assert float(found["shape there"]) == about(
        6 * shape(logits(g_x, 500), logits(x, 1000).sigmoid())
    )
    assert float(found["shape back"]) == about(
        6 * shape(logits(f_y, 1000), logits(y, 500).sigmoid())
    )

    def through(reader: Any, writer: Any, images: Tensor) -> Tensor:
        features = images
        for layer in reader.encoder:
            features = layer(features)
        return writer.decoder(features)

    assert float(found["latent there"]) == about(3 * l1(through(there, back, x), x))
    assert float(found["latent back"]) == about(3 * l1(through(back, there, y), y))

    terms = ("adversarial", "cycle", "perceptual", "air", "gradient", "shape", "latent")
    named = [float(found[f"{term} {way}"]) for term in terms for way in ("there", "back")]
    assert turns.losses["generator"] == about(sum(named))
    assert turns.reached["generator"] == {"there", "back"}


def test_pix2pix_feels_the_difference_to_the_target(judges: dict[str, Path]) -> None:
    terms = structure(judges)
    named = {name: terms[name] for name in terms if name.startswith(("features", "perceptual"))}
    shown = batch()
    method, _, found = stepped(recipe_of("pix2pix", structure=named), shown)
    network, seen = loaded(judges["features"]), []
    network.encoder[1].register_forward_hook(lambda module, given, made: seen.append(made))
    network(method.networks["network"](shown.images)[0])
    network(shown.targets)
    assert float(found["perceptual"]) == about(2 * (seen[0] - seen[1]).square().mean())


def test_what_judges_the_structure_is_never_moved_and_in_no_checkpoint(
    judges: dict[str, Path],
) -> None:
    learner = Learner(recipe_of("cyclegan", structure=structure(judges)), CPU)
    assert set(learner.state()["networks"]) == {
        "there",
        "back",
        "critic of there",
        "critic of back",
    }
    before = {name: path.read_bytes() for name, path in judges.items()}
    learner.begin_epoch(0)
    learner.step(pairs(), draws())
    assert {name: path.read_bytes() for name, path in judges.items()} == before


def shapes(reader: Path, judge: Path | None = None) -> dict[str, Any]:
    named = {"shape_weight": 6, "segmentor": str(reader), "segmentor_sha256": file_sha256(reader)}
    if judge is not None:
        named["target_segmentor"] = str(judge)
        named["target_segmentor_sha256"] = file_sha256(judge)
    return named


def test_each_side_has_its_own_segmentor_where_two_are_named(
    tmp_path: Path, judges: dict[str, Path]
) -> None:
    other = labels_recipe(2, network={"levels": 2, "channels": 3})
    files = judges["segmentor"], model_file(tmp_path, other, "other")
    shown = batch()
    method, _, found = stepped(recipe_of("cyclegan", structure=shapes(*files)), shown)
    x, y = shown.images, shown.targets
    g_x = method.networks["there"](x)[0].detach()
    f_y = method.networks["back"](y)[0].detach()
    of_source, of_target = map(loaded, files)

    def logits(network: Any, images: Tensor, high: float) -> Tensor:
        return network((images * (high + 1000) / 2000).clamp(0, 1))[0]

    shape = F.binary_cross_entropy_with_logits
    there = shape(logits(of_target, g_x, 500), logits(of_source, x, 1000).sigmoid())
    back = shape(logits(of_source, f_y, 1000), logits(of_target, y, 500).sigmoid())
    assert float(found["shape there"]) == about(6 * there)
    assert float(found["shape back"]) == about(6 * back)


def test_one_segmentor_is_the_same_as_naming_it_twice(judges: dict[str, Path]) -> None:
    path = judges["segmentor"]
    once, twice = (
        stepped(recipe_of("cyclegan", structure=named), batch())[2]
        for named in (shapes(path), shapes(path, path))
    )
    assert all(torch.equal(once[name], twice[name]) for name in once)


VOLUMES = {"network": {"levels": 2, "channels": 2, "dimension": 3}, "sampling": {"patch": [8] * 3}}
UNFIT: list[tuple[str, str, dict[str, Any], str]] = [
    ("pix2pix", "features", {"features": "nowhere.dtmodel"}, "nowhere.dtmodel does not exist"),
    ("cyclegan", "features", {"features_sha256": "0" * 64}, "SHA-256 is"),
    ("pix2pix", "features", {"features_level": 3}, "level 3 was asked for"),
    ("cyclegan", "features volumes", {}, "takes patches of volumes"),
    ("cyclegan", "segmentor", {"segmentor": "nowhere.dtmodel"}, "nowhere.dtmodel does not exist"),
    ("cyclegan", "segmentor", {"target_segmentor_sha256": "0" * 64}, "SHA-256 is"),
    ("cyclegan", "segmentor volumes", {}, "takes patches of volumes"),
    ("cyclegan", "segmentor one", {}, "Expected, .*: 10 label 1 .* Found in .*, 20 label 2"),
]


@pytest.mark.parametrize(("method", "kind", "wrong", "message"), UNFIT)
def test_what_cannot_judge_is_refused_before_the_cohort_is_read(
    tmp_path: Path,
    judges: dict[str, Path],
    method: str,
    kind: str,
    wrong: dict[str, Any],
    message: str,
) -> None:
    name, *other = kind.split()
    path = judges[name]
    if other:
        path = model_file(
            tmp_path, labels_recipe(1, **(VOLUMES if other == ["volumes"] else {})), "other"
        )
    if name == "features":
        named = {"perceptual_weight": 1, "features_level": 1, "features": str(path)}
        named["features_sha256"] = file_sha256(path)
    else:
        named = shapes(path, judges["segmentor"] if other != ["volumes"] else path)
    recipe = recipe_of(method, structure=named | wrong)
    heard: list[Any] = []
    with pytest.raises(PretrainedError, match=message):
        train(recipe, cohort(method), tmp_path / "run", device="cpu", sink=heard.append)
    assert not heard
    assert not (tmp_path / "run").exists()


def test_looking_at_the_files_draws_nothing(judges: dict[str, Path]) -> None:
    before = torch.get_rng_state()
    check_structure(recipe_of("cyclegan", structure=structure(judges)))
    check_structure(recipe_of("unit"))
    assert torch.equal(torch.get_rng_state(), before)
