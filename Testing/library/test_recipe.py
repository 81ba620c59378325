"""Recipes: the built-in one, what may be said in one and what may not."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.recipe import (
    LABEL_LOSSES,
    VOLUME_LOSSES,
    Augmentation,
    Code,
    Input,
    Label,
    LossTerm,
    Method,
    Network,
    Optimizer,
    Preprocessing,
    Recipe,
    RecipeError,
    Sampling,
    Target,
    Training,
    builtin_recipes,
    read_recipe,
    recipe_from_json,
    write_recipe,
)
from DeepTranslateLib.schema import to_json

BUILTIN = "ct-body-composition"
LABELS = {"kind": "labels", "labels": [{"value": 1, "name": "fat"}]}
VOLUME = {"kind": "volume", "range": [-1000, 1000]}


def minimal(**parts):
    return {"name": "test", "target": LABELS, **parts}


def builtin_json():
    return json.loads(builtin_recipes()[BUILTIN].read_text(encoding="utf-8"))


def refused(content):
    with pytest.raises(RecipeError) as caught:
        recipe_from_json(content)
    return caught.value


def objects(value, path="$"):
    """Every JSON object inside a value, with its path."""
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            yield from objects(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects(item, f"{path}[{index}]")


def numbers(low, high, **options):
    return st.floats(low, high, allow_nan=False, **options)


names = st.text(min_size=1, max_size=12).filter(str.strip)
ranges = st.lists(numbers(-4000, 4000), min_size=2, max_size=2, unique=True).map(
    lambda pair: tuple(sorted(pair))
)
codes = st.builds(Code, names, names, names)


@st.composite
def label_targets(draw):
    values = draw(st.lists(st.integers(1, 254), min_size=1, max_size=6, unique=True))
    titles = draw(st.lists(names, min_size=len(values), max_size=len(values), unique=True))
    also = draw(st.booleans()) and len(values) > 1
    labels = tuple(
        Label(
            value,
            title,
            draw(st.tuples(*[st.integers(0, 255)] * 3)),
            draw(st.none() | codes),
            draw(st.none() | codes),
            draw(st.none() | codes),
        )
        for value, title in zip(values, titles, strict=True)
    )
    if also:
        first, *others, last = labels
        labels = (dataclasses.replace(first, also=(last.value,)), *others)
    free = sorted(set(range(1, 256)) - set(values))
    return Target("labels", labels, draw(st.none() | st.sampled_from(free)))


@st.composite
def recipes(draw):
    target = draw(
        label_targets() | st.builds(Target, kind=st.just("volume"), range=ranges, units=names)
    )
    labels = target.kind == "labels"
    losses = list(LABEL_LOSSES if labels else VOLUME_LOSSES[:-1])
    terms = st.lists(
        st.builds(LossTerm, st.sampled_from(losses), numbers(0.01, 10)), min_size=1, max_size=3
    ).map(tuple)
    units = draw(st.sampled_from(["HU", "", "SUV"]))
    return Recipe(
        name=draw(names),
        target=target,
        title=draw(st.text(max_size=9)),
        inputs=(Input("image", draw(st.sampled_from(["CT", "MR", "PET", "US", "other"])), units),),
        sampling=Sampling(draw(st.sampled_from(["axial", "coronal", "sagittal"]))),
        preprocessing=Preprocessing(
            window=draw(st.none() | ranges),
            spacing=draw(st.sampled_from([None, "auto"]) | numbers(0.05, 20)),
            body_crop=units == "HU" and draw(st.booleans()),
        ),
        network=Network(
            levels=draw(st.integers(2, 8)), norm=draw(st.sampled_from(["none", "group"]))
        ),
        method=Method(loss=draw(st.sampled_from(losses) | terms)),
        optimizer=Optimizer(gradient_clip=draw(st.none() | numbers(1e-6, 1e6))),
        augmentation=Augmentation(rotation=draw(numbers(0, 180))),
        training=Training(monitor=draw(st.sampled_from(["loss", "dice"] if labels else ["loss"]))),
    )


@settings(max_examples=60)
@given(recipes())
def test_a_recipe_is_read_back_as_it_was_written(recipe):
    assert recipe_from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


def test_every_built_in_recipe_is_valid_and_called_by_its_file_name(tmp_path):
    assert BUILTIN in builtin_recipes()
    for name in builtin_recipes():
        recipe = read_recipe(name)
        assert recipe.name == name
        assert recipe.title
        assert recipe.description
        write_recipe(recipe, tmp_path / "copy.json")
        assert read_recipe(tmp_path / "copy.json") == recipe
        written = json.loads((tmp_path / "copy.json").read_text(encoding="utf-8"))
        assert written["training"]["batch_size"] == recipe.training.batch_size


def test_the_built_in_recipe_carries_snomed_codes_that_slicer_needs():
    for label in read_recipe(BUILTIN).target.labels:
        assert label.category.scheme == label.type.scheme == "SCT"
        assert label.type.value.isdigit()


def test_what_a_recipe_leaves_out_has_the_documented_default():
    recipe = recipe_from_json(minimal())
    assert recipe.sampling.plane == "axial"
    assert recipe.preprocessing.spacing == "auto"
    assert recipe.training.epochs == 200
    assert recipe.output_channels == 1


@pytest.mark.parametrize("path", [path for path, _ in objects(builtin_json())])
def test_an_unknown_field_is_refused_at_every_depth(path):
    content = builtin_json()
    dict(objects(content))[path]["surprise"] = 1
    assert refused(content).path == f"{path}.surprise"


@pytest.mark.parametrize(
    ("part", "name", "bad"),
    [
        ("sampling", "plane", ["oblique", 0]),
        ("sampling", "foreground_weight", [0.9, 101]),
        ("preprocessing", "window", [[1, 1], [300, -300], [0], "wide", [0, 1e999]]),
        ("preprocessing", "spacing", [0.04, 21, "fine", [1, 1], True]),
        ("preprocessing", "spacing_tolerance", [-0.1, 5]),
        ("preprocessing", "body_margin", [-1, 201]),
        ("network", "name", ["transformer"]),
        ("network", "levels", [1, 9, 2.5]),
        ("network", "channels", [0, 257]),
        ("network", "norm", ["layer", None]),
        ("network", "deep_supervision", ["yes", 1]),
        ("network", "dimension", [1, 3, 4]),
        ("network", "residual", [True, 1]),
        ("network", "blocks", [[1] * 5, 3]),
        ("sampling", "context", [-1, 9, 0.5]),
        ("method", "loss", ["mse", "mae", "ssim", "accuracy", [], 3, None]),
        ("method", "coarse_targets", ["every", True]),
        ("optimizer", "learning_rate", [0, 1.1, "fast"]),
        ("optimizer", "name", ["lion"]),
        ("optimizer", "momentum", [-0.1, 1, 0.9]),
        ("optimizer", "beta1", [-0.1, 1]),
        ("optimizer", "weight_decay", [-1, 1.1]),
        ("optimizer", "schedule", ["step"]),
        ("optimizer", "warmup_epochs", [-1, 200]),
        ("optimizer", "gradient_clip", [0]),
        ("augmentation", "probability", [-0.1, 1.1]),
        ("augmentation", "reference_size", [0]),
        ("augmentation", "rotation", [181]),
        ("augmentation", "noise_sd", [2]),
        ("training", "epochs", [0, 100_001, 1.5, "many"]),
        ("training", "batch_size", [0, 1025]),
        ("training", "patience", [0]),
        ("training", "monitor", ["accuracy"]),
        ("training", "ema", [1.0, -0.1]),
        ("training", "validation_fraction", [0, 0.95]),
        ("training", "seed", [-1, 2**31]),
    ],
)
def test_each_limit_is_held_and_named(part, name, bad):
    for value in bad:
        path = refused(minimal(**{part: {name: value}})).path
        assert path.startswith(f"$.{part}.{name}")


def label(value, name, **more):
    return {"value": value, "name": name, **more}


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"target": LABELS}, "$.name"),
        ({"name": "x"}, "$.target"),
        (minimal(target={"kind": "labels"}), "$.target.labels"),
        (minimal(target={"kind": "volume"}), "$.target.range"),
        (minimal(target={"kind": "volume", "range": [5, 5]}), "$.target.range"),
        (minimal(target={**VOLUME, "labels": LABELS["labels"]}), "$.target.labels"),
        (minimal(target={**VOLUME, "ignore": 4}), "$.target.ignore"),
        (minimal(target={**LABELS, "range": [0, 1]}), "$.target.range"),
        (minimal(target={**LABELS, "ignore": 1}), "$.target.ignore"),
        (minimal(target={**LABELS, "ignore": 256}), "$.target.ignore"),
        (minimal(target={"kind": "labels", "labels": [label(0, "a")]}), "$.target.labels[0].value"),
        (
            minimal(target={"kind": "labels", "labels": [label(1, "a"), label(1, "b")]}),
            "$.target.labels[1]",
        ),
        (
            minimal(target={"kind": "labels", "labels": [label(1, "a"), label(2, "b", also=[1])]}),
            "$.target.labels[1]",
        ),
        (
            minimal(target={"kind": "labels", "labels": [label(1, "a"), label(2, "a")]}),
            "$.target.labels",
        ),
        (minimal(target={"kind": "labels", "labels": [label(1, " ")]}), "$.target.labels[0].name"),
        (minimal(target=VOLUME), "$.method.loss"),
        (
            minimal(target=VOLUME, method={"loss": "mae"}, training={"monitor": "dice"}),
            "$.training.monitor",
        ),
        (minimal(network={"name": "basicunet", "levels": 4}), "$.network.levels"),
        (minimal(network={"name": "dynunet", "levels": 2}), "$.network.levels"),
        (minimal(network={"name": "swinunetr", "channels": 16}), "$.network.channels"),
        (minimal(network={"name": "restormer", "channels": 3}), "$.network.channels"),
        (minimal(network={"name": "restormer", "norm": "group"}), "$.network.norm"),
        (
            minimal(network={"name": "segresnet", "deep_supervision": True}),
            "$.network.deep_supervision",
        ),
        (minimal(network={"name": "segresnet", "blocks": [1, 2]}), "$.network.blocks"),
        (minimal(network={"name": "segresnet", "blocks": [1, 2, 0, 1, 1]}), "$.network.blocks[2]"),
        (
            minimal(
                network={"levels": 3, "deep_supervision": True},
                method={"coarse_targets": "full_size"},
            ),
            "$.network.levels",
        ),
        (minimal(network={"residual": True}), "$.network.residual"),
        (
            minimal(
                target={**VOLUME, "units": "HU"},
                method={"loss": "mae"},
                network={"residual": True},
            ),
            "$.network.residual",
        ),
        (minimal(method={"loss": [{"name": "dice"}, {"name": "mae"}]}), "$.method.loss[1].name"),
        (
            minimal(method={"loss": [{"name": "dice"}, {"name": "focal", "weight": 0}]}),
            "$.method.loss[1].weight",
        ),
        (
            minimal(target=VOLUME, method={"loss": "total_variation"}),
            "$.method.loss",
        ),
        (
            minimal(optimizer={"warmup_epochs": 3}, training={"epochs": 3}),
            "$.optimizer.warmup_epochs",
        ),
        (minimal(inputs=[]), "$.inputs"),
        (minimal(inputs=[{}, {}]), "$.inputs"),
        (minimal(preprocessing={"body_crop": True}), "$.preprocessing.body_crop"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_place(content, path):
    assert refused(content).path == path


def test_a_recipe_of_a_newer_version_says_to_update():
    assert "Update DeepTranslate" in str(refused(minimal(version=2)))


def test_training_can_be_changed_and_is_checked_again():
    recipe = recipe_from_json(minimal())
    changed = recipe.with_training(seed=7, epochs=3)
    assert (changed.training.seed, changed.training.epochs) == (7, 3)
    assert recipe.training.epochs == 200
    for change in ({"epochs": 0}, {"epochs": "many"}, {"seed": 1.5}):
        with pytest.raises(RecipeError, match=r"\$\.training"):
            recipe.with_training(**change)


def test_a_recipe_that_could_not_be_read_again_is_not_written(tmp_path):
    recipe = recipe_from_json(minimal())
    broken = dataclasses.replace(recipe, preprocessing=Preprocessing(window=(0, float("inf"))))
    with pytest.raises(RecipeError, match="window"):
        write_recipe(broken, tmp_path / "recipe.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["nothing", "x" * 5000, "", "no\0file"])
def test_an_unknown_recipe_lists_the_known_ones(name):
    with pytest.raises(RecipeError, match=BUILTIN):
        read_recipe(name)


def test_a_broken_recipe_file_is_named_with_line_and_column(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{\n  "name": "x",\n}')
    with pytest.raises(RecipeError, match=r"mine\.json.*line 3"):
        read_recipe(path)
