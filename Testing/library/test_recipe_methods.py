"""Which fields each method reads, and what it asks of the rest of a recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from DeepTranslateLib.recipe import Recipe, RecipeError, recipe_from_json
from DeepTranslateLib.recipe.adversarial import Adversarial, Contrast, Structure
from DeepTranslateLib.recipe.learning import METHODS, VOLUME_MONITORS
from DeepTranslateLib.recipe.methods import is_read

UNPAIRED = ("cyclegan", "unit", "cut")
GANS = ("pix2pix", *UNPAIRED, "context_gan")
HASH = "0" * 64
# A value that no field has by default, for each field of the parts that methods share.
OTHER: dict[str, dict[str, Any]] = {
    "method": {"coarse_targets": "nearest", "auto_context": 1},
    "adversarial": {
        "objective": "hinge",
        "weight": 2,
        "gradient_penalty": 3,
        "discriminator_channels": 8,
        "discriminator_layers": 2,
        "discriminator_norm": "group",
        "spectral_norm": True,
        "discriminator_rate": 1e-4,
        "discriminator_warmup_epochs": 1,
        "generator_steps": 2,
        "discriminator_steps": 5,
        "label_jitter": 0.1,
        "pool": 7,
        "mispair_weight": 1,
        "identity_weight": 1,
        "kl_weight": 1,
    },
    "structure": {
        "perceptual_weight": 1,
        "latent_weight": 1,
        "air_weight": 1,
        "air_threshold": -500,
        "gradient_weight": 1,
        "shape_weight": 1,
        "features": "features.dtmodel",
        "features_sha256": HASH,
        "features_level": 1,
        "segmentor": "segmentor.dtmodel",
        "segmentor_sha256": HASH,
        "target_segmentor": "other.dtmodel",
        "target_segmentor_sha256": HASH,
    },
    "contrast": {"weight": 2, "patches": 8, "temperature": 0.2, "layers": [0, 2]},
}
_SEGMENTOR = {"segmentor": "segmentor.dtmodel", "segmentor_sha256": HASH, "shape_weight": 1}
# What has to be said beside some of them.
BESIDE: dict[str, dict[str, Any]] = {
    "perceptual_weight": {"features": "features.dtmodel", "features_sha256": HASH},
    "features": {"features_sha256": HASH, "perceptual_weight": 1},
    **{
        field: {"perceptual_weight": 1, "features": "features.dtmodel", "features_sha256": HASH}
        for field in ("features_sha256", "features_level")
    },
    "shape_weight": {"segmentor": "segmentor.dtmodel", "segmentor_sha256": HASH},
    "segmentor": {"segmentor_sha256": HASH, "shape_weight": 1},
    "segmentor_sha256": {"segmentor": "segmentor.dtmodel", "shape_weight": 1},
    "target_segmentor": {**_SEGMENTOR, "target_segmentor_sha256": HASH},
    "target_segmentor_sha256": {**_SEGMENTOR, "target_segmentor": "other.dtmodel"},
    "air_threshold": {"air_weight": 1},
    "gradient_penalty": {"objective": "wgan_gp"},
}
# The papers' parts: what each method has of its own.
READ_BY = {
    "coarse_targets": {"supervised"},
    "auto_context": {"context_gan"},
    "mispair_weight": {"pix2pix"},
    "identity_weight": {"cyclegan", "cut"},
    "kl_weight": {"unit"},
    **{f"{term}_weight": {"cyclegan"} for term in ("latent", "air", "gradient", "shape")},
    **{key: {"cyclegan"} for key in ("air_threshold", "segmentor", "segmentor_sha256")},
    **{key: {"cyclegan"} for key in ("target_segmentor", "target_segmentor_sha256")},
    "perceptual_weight": {"pix2pix", "cyclegan"},
    **{key: {"pix2pix", "cyclegan"} for key in ("features", "features_sha256", "features_level")},
    "gradient_penalty": {"pix2pix", "cyclegan", "unit", "cut"},
    **{key: {"cut"} for key in ("patches", "temperature", "layers")},
    **{
        key: {"pix2pix", "cyclegan", "unit", "cut"}
        for key in (
            "discriminator_channels",
            "discriminator_layers",
            "discriminator_norm",
            "spectral_norm",
        )
    },
}


def content_of(method: str, /, **parts: dict[str, Any]) -> dict[str, Any]:
    """JSON of a valid recipe of a method, with fields of parts replaced."""
    network = {"unit": "unit", "context_gan": "context_fcn"}.get(method, "resnet")
    if method == "supervised":
        network = "unet"
    content: dict[str, Any] = {
        "name": "test",
        "inputs": [{"name": "image", "modality": "CT", "units": "HU"}],
        "target": {"kind": "volume", "units": "HU", "range": [-1000, 1000]},
        "preprocessing": {"window": [-1000, 1000]},
        "network": {"name": network, **({} if method == "context_gan" else {"levels": 3})},
        "method": {"name": method, "loss": "mae"},
        "training": {"monitor": "last", "batch_size": 2},
    }
    if method == "cut":
        del content["method"]["loss"]
    if method == "context_gan":
        content["network"]["dimension"] = 3
        content["sampling"] = {"patch": [32, 32, 32]}
    for part, fields in parts.items():
        content[part] = {**content.get(part, {}), **fields}
    return content


def recipe_of(method: str, /, **parts: dict[str, Any]) -> Recipe:
    return recipe_from_json(content_of(method, **parts))


def refused(method: str, /, **parts: dict[str, Any]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        recipe_of(method, **parts)
    return caught.value


def test_every_field_of_the_shared_parts_is_tried_here() -> None:
    parts = {"adversarial": Adversarial, "structure": Structure, "contrast": Contrast}
    for part, cls in parts.items():
        assert {field.name for field in dataclasses.fields(cls)} == set(OTHER[part])


@pytest.mark.parametrize("method", METHODS)
def test_a_method_takes_what_it_reads_and_refuses_each_other_field_by_name(method: str) -> None:
    for part, fields in OTHER.items():
        for name, value in fields.items():
            readers = READ_BY.get(name, {"cut"} if part == "contrast" else set(GANS))
            assert is_read(method, part, name) == (method in readers), name
            given = {part: {**BESIDE.get(name, {}), name: value}}
            if method in readers:
                found = getattr(getattr(recipe_of(method, **given), part), name)
                assert found == (tuple(value) if isinstance(value, list) else value)
            else:
                error = refused(method, **{part: {name: value}} if part != "structure" else given)
                first = {name, *BESIDE.get(name, {})}
                assert error.path in {f"$.{part}.{each}" for each in first}
                assert f"'{method}' does not read it" in str(error)
                assert all(reader in str(error) for reader in readers)


def test_cut_is_held_to_no_target() -> None:
    error = refused("cut", method={"loss": "mae"})
    assert error.path == "$.method.loss"
    assert "cyclegan" in str(error)


def test_fields_of_other_parts_are_every_methods() -> None:
    assert is_read("supervised", "optimizer", "beta1")
    assert is_read("cut", "method", "name")


# ---- what a method asks of the rest

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *[
        (m, {"network": {"deep_supervision": True, "name": "unet"}}, "network.deep_supervision")
        for m in ("pix2pix", "cyclegan")
    ],
    *[(m, {"network": {"name": "unit"}}, "network.name") for m in ("pix2pix", "cyclegan", "cut")],
    ("unit", {"network": {"name": "resnet"}}, "network.name"),
    ("unit", {"network": {"name": "unet"}}, "network.name"),
    ("cut", {"network": {"name": "unet"}}, "network.name"),
    ("cut", {"network": {"residual": True}}, "network.residual"),
    (
        "cyclegan",
        {"network": {"residual": True}, "structure": {"latent_weight": 1}},
        "network.residual",
    ),
    (
        "cyclegan",
        {"network": {"name": "unet"}, "structure": {"latent_weight": 1}},
        "structure.latent_weight",
    ),
    *[(m, {"noise": {"kind": "gaussian"}}, "noise.kind") for m in GANS[:4]],
    *[
        (m, {"adversarial": {"objective": o, "label_jitter": 0.1}}, "adversarial.label_jitter")
        for m in GANS
        for o in ("hinge", "wgan_gp")
    ],
    *[
        (
            m,
            {"adversarial": {"objective": "wgan_gp", "discriminator_norm": "batch"}},
            "adversarial.objective",
        )
        for m in GANS[:4]
    ],
    ("context_gan", {"adversarial": {"objective": "wgan_gp"}}, "adversarial.objective"),
    (
        "pix2pix",
        {"adversarial": {"mispair_weight": 1}, "training": {"batch_size": 1}},
        "adversarial.mispair_weight",
    ),
    *[(m, {"sampling": {"context": 1}}, "sampling.context") for m in UNPAIRED],
    *[(m, {"sampling": {"fusion": True}}, "sampling.fusion") for m in UNPAIRED],
    *[(m, {"preprocessing": {"window": None}}, "preprocessing.window") for m in UNPAIRED],
    ("cyclegan", {"structure": {"air_weight": 1}, "target": {"units": ""}}, "structure.air_weight"),
    (
        "cyclegan",
        {"structure": {"air_weight": 1}, "target": {"range": [-600.5, -600.1]}},
        "structure.air_threshold",
    ),
    (
        "cyclegan",
        {"structure": {"air_weight": 1}, "preprocessing": {"window": [-500, 500]}},
        "structure.air_threshold",
    ),
    ("cyclegan", {"structure": {"perceptual_weight": 1}}, "structure.features"),
    (
        "pix2pix",
        {"structure": {"perceptual_weight": 1, "features": "a.dtmodel"}},
        "structure.features_sha256",
    ),
    ("cyclegan", {"structure": {"shape_weight": 1}}, "structure.segmentor"),
    (
        "cyclegan",
        {"structure": {"segmentor": "a.dtmodel", "segmentor_sha256": "ABC"}},
        "structure.segmentor_sha256",
    ),
    (
        "cyclegan",
        {"structure": {**_SEGMENTOR, "target_segmentor": "a.dtmodel"}},
        "structure.target_segmentor_sha256",
    ),
    (
        "cyclegan",
        {"structure": {**_SEGMENTOR, "target_segmentor_sha256": HASH}},
        "structure.target_segmentor_sha256",
    ),
    (
        "cyclegan",
        {
            "structure": {
                "shape_weight": 1,
                "target_segmentor": "a.dtmodel",
                "target_segmentor_sha256": HASH,
            }
        },
        "structure.segmentor",
    ),
    ("cut", {"contrast": {"layers": [0, 13]}}, "contrast.layers"),
    ("cut", {"contrast": {"layers": []}}, "contrast.layers"),
    (
        "cut",
        {"contrast": {"layers": [4]}, "network": {"blocks": [1], "levels": 2}},
        "contrast.layers",
    ),
    *[
        (m, {"sampling": {"patch": [16, 16, 16]}, "network": {"dimension": 3}}, "sampling.patch")
        for m in GANS[:4]
    ],
]


@pytest.mark.parametrize(("method", "parts", "path"), REFUSED)
def test_what_a_method_cannot_learn_is_refused_with_its_place(
    method: str, parts: dict[str, Any], path: str
) -> None:
    assert refused(method, **parts).path == f"$.{path}"


@pytest.mark.parametrize(
    ("field", "weight"),
    [
        ("features", "perceptual_weight"),
        ("features_level", "perceptual_weight"),
        ("segmentor", "shape_weight"),
        ("target_segmentor", "shape_weight"),
        ("air_threshold", "air_weight"),
    ],
)
def test_what_only_a_term_reads_is_refused_without_the_term(field: str, weight: str) -> None:
    files = ("features", "segmentor", "target_segmentor")
    named = {f"{field}_sha256": HASH} if field in files else {}
    error = refused("cyclegan", structure={field: OTHER["structure"][field], **named})
    assert error.path == f"$.structure.{field}"
    assert weight in str(error)


@pytest.mark.parametrize("objective", ["lsgan", "bce", "hinge"])
def test_a_gradient_penalty_is_of_wasserstein_alone(objective: str) -> None:
    error = refused("cyclegan", adversarial={"objective": objective, "gradient_penalty": 3})
    assert error.path == "$.adversarial.gradient_penalty"
    assert objective in str(error)
    assert "wgan_gp" in str(error)


@pytest.mark.parametrize("method", GANS)
def test_one_side_learns_in_each_step(method: str) -> None:
    error = refused(method, adversarial={"generator_steps": 3, "discriminator_steps": 2})
    assert error.path == "$.adversarial.discriminator_steps"
    assert "generator_steps is 3" in str(error)
    assert "Leave one of both at 1" in str(error)


@pytest.mark.parametrize("method", GANS[:4])
def test_only_volumes_are_made_with_a_discriminator(method: str) -> None:
    content = content_of(method)
    content["target"] = {"kind": "labels", "labels": [{"value": 1, "name": "fat"}]}
    with pytest.raises(RecipeError) as caught:
        recipe_from_json(content)
    assert caught.value.path == "$.method.name"
    assert "supervised" in str(caught.value)


def test_what_lies_just_within_is_taken() -> None:
    assert recipe_of("cut", contrast={"layers": [0, 12]}).contrast.layers == (0, 12)
    three = {"network": {"blocks": [1], "levels": 2}}
    assert recipe_of("cut", contrast={"layers": [3]}, **three).contrast.layers == (3,)
    patch = {"sampling": {"patch": [24, 24, 24]}, "network": {"dimension": 3}}
    assert recipe_of("cyclegan", **patch).is_volumetric
    air = {"structure": {"air_weight": 1}, "preprocessing": {"window": [-600, 500]}}
    assert recipe_of("cyclegan", **air).structure.air_weight == 1


@pytest.mark.parametrize("method", METHODS)
def test_epochs_are_compared_by_what_the_method_can_measure(method: str) -> None:
    possible = {"last", "histogram_distance"}
    if method not in UNPAIRED:
        possible = set(VOLUME_MONITORS) - {"histogram_distance"}
    for monitor in VOLUME_MONITORS:
        training = {"monitor": monitor}
        if monitor in possible:
            assert recipe_of(method, training=training).training.monitor == monitor
        else:
            assert refused(method, training=training).path == "$.training.monitor"


def test_a_recipe_says_whether_it_needs_pairs_and_learns_both_ways() -> None:
    for method in METHODS:
        recipe = recipe_of(method)
        assert recipe.is_unpaired == (method in UNPAIRED)
        assert recipe.is_two_way == (method in ("cyclegan", "unit"))


def test_patience_waits_for_what_can_become_better() -> None:
    assert refused("cut", training={"patience": 3}).path == "$.training.patience"
    waiting = recipe_of("cut", training={"patience": 3, "monitor": "histogram_distance"})
    assert waiting.training.patience == 3
