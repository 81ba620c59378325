"""Model files: what is written is read, and nothing else is ever taken for a model."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.model import (
    Card,
    Model,
    ModelError,
    list_models,
    models_folder,
    read_model,
    write_model,
)
from DeepTranslateLib.recipe import read_recipe

RECIPE = read_recipe("ct-body-composition")
PREVIEW = b"\x89PNG\r\n\x1a\n" + bytes(range(60))
WEIGHTS = np.random.default_rng(0).bytes(400)
MEMBERS = ["recipe.json", "card.json", "weights.safetensors", "preview.png"]


def card(**changes):
    values = {
        "name": "CT body composition",
        "created": "2026-01-31T12:00:00+00:00",
        "deeptranslate": "0.1.0",
        "epoch": 12,
        "seed": 3,
        "metrics": {"validation": {"dice": {"fat": 0.97}, "loss": 0.1}},
        "cohort": {"training_subjects": 4},
        "versions": {"torch": "2.8.0"},
        "licence": "CC-BY-4.0",
    }
    return Card(**{**values, **changes})


def write(folder, name="body.dtmodel", **options):
    return write_model(folder / name, RECIPE, card(**options), WEIGHTS, PREVIEW)


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def rezip(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents:
            archive.writestr(name, content)
    return path


def everything(path):
    model = read_model(path)
    return model.recipe, model.card, model.weights(), model.preview()


def assert_refused(path, *says):
    with pytest.raises(ModelError) as caught:
        everything(path)
    message = str(caught.value)
    assert "\n" not in message
    for text in says:
        assert text in message


def test_a_model_is_read_as_it_was_written(tmp_path):
    path = write(tmp_path)
    recipe, read_card, weights, preview = everything(path)
    assert recipe == RECIPE
    assert weights == WEIGHTS
    assert preview == PREVIEW
    assert dataclasses.replace(read_card, weights_sha256="") == card()
    assert os.listdir(tmp_path) == ["body.dtmodel"]


def test_other_programs_can_open_it(tmp_path):
    with zipfile.ZipFile(write(tmp_path)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == MEMBERS
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        about = json.loads(archive.read("card.json"))
    assert about["format"] == "DeepTranslate model"
    assert about["version"] == 1
    assert len(about["weights_sha256"]) == 64


def test_the_same_model_makes_the_same_file(tmp_path):
    assert write(tmp_path, "a.dtmodel").read_bytes() == write(tmp_path, "b.dtmodel").read_bytes()


def test_a_model_without_a_preview_has_none(tmp_path):
    path = write_model(tmp_path / "m.dtmodel", RECIPE, card(), WEIGHTS)
    assert read_model(path).preview() is None


def test_metrics_that_are_no_numbers_become_null(tmp_path):
    metrics = {
        "loss": float("nan"),
        "psnr": np.float32("inf"),
        "dice": [np.float64(0.5), -math.inf],
        "counts": np.arange(3),
    }
    path = write(tmp_path, metrics=metrics)
    json.loads(members(path)["card.json"], parse_constant=pytest.fail)
    assert read_model(path).card.metrics == {
        "loss": None,
        "psnr": None,
        "dice": [0.5, None],
        "counts": [0, 1, 2],
    }


def test_reading_imports_neither_torch_nor_code_from_the_file(tmp_path):
    code = (
        "import sys; from DeepTranslateLib.model import read_model\n"
        "read_model(sys.argv[1]).weights()\n"
        "assert not {'torch', 'monai', 'pickle5'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(write(tmp_path))]
    subprocess.run(command, env=environment, check=True, timeout=60)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("models"))
    return path.read_bytes(), everything(path), path.with_name("changed.dtmodel")


def assert_same_or_refused(original, content):
    _, expected, path = original
    path.write_bytes(content)
    try:
        found = everything(path)
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert found == expected


@settings(max_examples=300)
@given(st.data())
def test_no_changed_byte_is_read_as_something_else(original, data):
    content = bytearray(original[0])
    # The directory at the end is where zip readers believe what they read.
    start = data.draw(st.sampled_from([0, len(content) - 300]))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(start, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert_same_or_refused(original, bytes(content))


def test_no_flipped_bit_of_the_zip_structure_is_read_as_something_else(original):
    whole = original[0]
    directory = whole.index(b"PK\x01\x02")
    places = [*range(30), *range(directory, len(whole))]
    for place in places:
        for bit in (3, 7):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            assert_same_or_refused(original, bytes(content))


@settings(max_examples=100)
@given(st.integers(0, 10_000_000))
def test_no_truncated_file_is_a_model(original, cut):
    content, _, path = original
    path.write_bytes(content[: cut % len(content)])
    assert_refused(path)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_other_file_is_a_model(original, content):
    path = original[2]
    path.write_bytes(content)
    assert_refused(path, str(path))


def test_what_is_no_file_is_refused(tmp_path):
    assert_refused(tmp_path / "nothing.dtmodel", "does not exist")
    assert_refused(tmp_path, "is a folder")
    assert_refused(tmp_path / ("x" * 5000), "does not exist")


@pytest.mark.parametrize("missing", MEMBERS[:3])
def test_a_missing_member_is_named(tmp_path, missing):
    path = write(tmp_path)
    rezip(path, [(n, c) for n, c in members(path).items() if n != missing])
    assert_refused(path, missing)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../evil.py", "a\\b", "code.py", "weights.pkl", "recipe.json/", "é"]
)
def test_members_that_no_model_has_are_refused(tmp_path, name):
    path = write(tmp_path)
    rezip(path, [*members(path).items(), (name, b"x")])
    assert_refused(path, "which no model does")
    assert os.listdir(tmp_path) == ["body.dtmodel"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice_is_refused(tmp_path):
    path = write(tmp_path)
    rezip(path, [*members(path).items(), ("recipe.json", b"{}")])
    assert_refused(path, "recipe.json twice")


def test_a_model_zipped_anew_with_compression_is_read(tmp_path):
    path = write(tmp_path)
    expected = everything(path)
    rezip(path, members(path).items(), zipfile.ZIP_DEFLATED)
    assert everything(path) == expected


@pytest.mark.parametrize("bomb", MEMBERS)
def test_zip_bombs_are_refused_before_they_unpack(tmp_path, bomb):
    path = write(tmp_path)
    contents = {**members(path), bomb: b" " * 40_000_000}
    rezip(path, contents.items(), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    assert_refused(path, bomb, "too many")


@pytest.mark.parametrize("name", MEMBERS[:2])
def test_texts_above_four_megabytes_are_refused(tmp_path, name):
    path = write(tmp_path)
    contents = members(path)
    rezip(path, {**contents, name: contents[name] + b" " * (4 << 20)}.items())
    assert_refused(path, name, "too many")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, compression):
    path = write(tmp_path)
    rezip(path, members(path).items(), compression)
    assert_refused(path, "unknown way")


def test_weights_of_another_model_are_refused_when_they_are_asked_for(tmp_path):
    path = write(tmp_path)
    rezip(path, {**members(path), "weights.safetensors": b"other"}.items())
    model = read_model(path)
    with pytest.raises(ModelError, match="checksum"):
        model.weights()


def test_weights_of_a_file_that_was_removed_are_a_model_error(tmp_path):
    path = write(tmp_path)
    model = read_model(path)
    path.unlink()
    with pytest.raises(ModelError, match="does not exist"):
        model.weights()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 2}, "Update DeepTranslate"),
        ({"version": "1"}, "$.version"),
        ({"version": None}, "$.version"),
        ({"format": "other"}, "no DeepTranslate model"),
        ({"surprise": 1}, "$.surprise"),
        ({"epoch": -1}, "$.epoch"),
        ({"epoch": "last"}, "$.epoch"),
        ({"metrics": []}, "$.metrics"),
        ({"created": "yesterday"}, "$.created"),
        ({"created": "2026-01-31T12:00:00"}, "$.created"),
        ({"weights_sha256": "abc"}, "$.weights_sha256"),
        ({"weights_sha256": ""}, "no checksum"),
        ({"name": " "}, "$.name"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused_with_the_reason(tmp_path, changes, says):
    path = write(tmp_path)
    contents = members(path)
    about = json.dumps({**json.loads(contents["card.json"]), **changes})
    rezip(path, {**contents, "card.json": about}.items())
    assert_refused(path, says, str(path))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (b"{}", "$.name"),
        (b"[" * 100_000, "deeply"),
        (b"\xff", "UTF-8"),
        (b'{"version": 9, "name": "x", "target": {"kind": "labels"}}', "$"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_with_the_reason(tmp_path, recipe, says):
    path = write(tmp_path)
    rezip(path, {**members(path), "recipe.json": recipe}.items())
    assert_refused(path, "recipe", says)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("m.zip", {}, ".dtmodel"),
        ("nowhere/m.dtmodel", {}, "no folder"),
        ("m.dtmodel", {"weights": b""}, "no weights"),
        ("m.dtmodel", {"preview": b"GIF89a"}, "PNG"),
        ("m.dtmodel", {"card": card(created="now")}, "$.created"),
        ("m.dtmodel", {"card": card(metrics={"x": object()})}, "JSON"),
        ("m.dtmodel", {"card": card(cohort={"x": "y" * (4 << 20)})}, "card.json"),
        ("m.dtmodel", {"recipe": dataclasses.replace(RECIPE, name=3)}, "$.name"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, name, options, says):
    values = {"recipe": RECIPE, "card": card(), "weights": WEIGHTS, **options}
    with pytest.raises(ModelError) as caught:
        write_model(tmp_path / name, **values)
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_failed_writing_keeps_the_model_that_was_there(tmp_path):
    path = write(tmp_path)
    with pytest.raises(ModelError):
        write_model(path, RECIPE, card(epoch=-1), b"new")
    assert read_model(path).weights() == WEIGHTS


def test_the_models_of_a_folder_are_listed_and_broken_ones_reported(tmp_path):
    write(tmp_path, "b.dtmodel")
    write(tmp_path, "A.DTMODEL")
    (tmp_path / "broken.dtmodel").write_bytes(b"PK")
    (tmp_path / ".abc.part.dtmodel").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "folder.dtmodel").mkdir()
    found = dict(list_models(tmp_path))
    assert [path.name for path in found] == [
        "A.DTMODEL",
        "b.dtmodel",
        "broken.dtmodel",
        "folder.dtmodel",
    ]
    kinds = [type(value) for value in found.values()]
    assert kinds == [Model, Model, ModelError, ModelError]
    assert list_models(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"DEEPTRANSLATE_MODELS": "/srv/models"}, "/srv/models"),
        ("linux", {"HOME": "/home/ada"}, "/home/ada/.local/share/DeepTranslate/models"),
        ("linux", {"XDG_DATA_HOME": "/data/ada"}, "/data/ada/DeepTranslate/models"),
        (
            "darwin",
            {"HOME": "/Users/ada"},
            "/Users/ada/Library/Application Support/DeepTranslate/models",
        ),
        ("win32", {"LOCALAPPDATA": "/c/ada/Local"}, "/c/ada/Local/DeepTranslate/models"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the paths are POSIX paths")
def test_the_models_folder_follows_the_platform(monkeypatch, platform, variables, expected):
    for name in ("DEEPTRANSLATE_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert models_folder() == Path(expected)
