"""Both directions of a model: the command line, the worker's job, and what each expects."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import lps_affine
from job_samples import write_untrained_model, write_volume
from safetensors.torch import save

from DeepTranslateLib.cli import main
from DeepTranslateLib.cli.handlers import Handlers, JobContext
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.familiarity import doubts, intensity_histogram
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.jobs import JobError, TranslateJob, read_job, write_job
from DeepTranslateLib.model import Card, Model, ModelError, read_model, write_model
from DeepTranslateLib.recipe import BACKWARD, FORWARD, Recipe, recipe_from_json

CPU = torch.device("cpu")


def two_way_recipe() -> Recipe:
    """MR of a window of its own to CT, by a tiny network for each way."""
    return recipe_from_json(
        {
            "name": "tiny",
            "inputs": [{"name": "image", "modality": "MR"}],
            "target": {"kind": "volume", "modality": "CT", "units": "HU", "range": [-1000, 1000]},
            "preprocessing": {"window": [0, 300], "spacing": None},
            "network": {"name": "resnet", "levels": 2, "channels": 2, "norm": "instance"},
            "method": {"name": "cyclegan", "loss": "mae"},
            "training": {"monitor": "last"},
        }
    )


def networks() -> dict[str, torch.nn.Module]:
    """One of random weights for each way; that of the way back is another."""
    made = {}
    for seed, direction in enumerate((FORWARD, BACKWARD)):
        torch.manual_seed(seed)
        network = build_network(two_way_recipe())
        for value in network.parameters():
            torch.nn.init.normal_(value, std=0.3)
        made[direction] = network.eval()
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ways = networks()
    weights = dict(ways[FORWARD].state_dict())
    back = ways[BACKWARD].state_dict()
    weights.update({f"target-to-source/{name}": value for name, value in back.items()})
    fingerprints = {
        side: {"intensity_histogram": intensity_histogram(image.voxels, units)}
        for side, image, units in (("source", mr(), ""), ("target", ct(), "HU"))
    }
    training = {**fingerprints["source"], "target": fingerprints["target"]}
    card = Card(
        "both", "2026-01-31T12:00:00+00:00", "0", epoch=1, seed=0, cohort={"training": training}
    )
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    path = tmp_path_factory.mktemp("model") / "both.dtmodel"
    return write_model(path, two_way_recipe(), card, save(contiguous))


def ct() -> Image:
    voxels = np.random.default_rng(1).normal(30, 40, (3, 16, 16))
    voxels[:, :4] = -1000
    return Image(voxels.round().astype(np.int16), lps_affine())


def mr() -> Image:
    voxels = np.random.default_rng(2).normal(150, 40, (3, 16, 16))
    return Image(voxels.round().astype(np.int16), lps_affine())


def backward_by_hand(image: Image) -> np.ndarray:
    """HU to 0..1 by the target's range, the network of the way back, 0..1 to the window."""
    scaled = ((image.voxels.astype(np.float32) + 1000) / 2000).clip(0, 1)
    with torch.inference_mode():
        output = networks()[BACKWARD](torch.from_numpy(scaled)[:, None])[0]
    return (output[:, 0] * 300).numpy()


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_the_way_back_reads_the_target_and_makes_the_inputs_kind(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(ct(), tmp_path / "anna.nrrd")
    out = tmp_path / "out"
    command = ("translate", "--model", model, "--output", out, "--device", "cpu", "--json")
    assert run(*command, "--direction", BACKWARD, tmp_path / "anna.nrrd") == 0
    assert last_json(capsys)["direction"] == BACKWARD
    found = read_image(out / "anna_translated_to_source.nrrd")
    np.testing.assert_allclose(found.voxels, backward_by_hand(ct()), atol=1e-2)
    # The way there, into the same folder, writes a file of its own.
    assert run(*command, tmp_path / "anna.nrrd") == 0
    assert last_json(capsys)["direction"] == FORWARD
    assert sorted(path.name for path in out.iterdir()) == [
        "anna_translated.nrrd",
        "anna_translated_to_source.nrrd",
    ]
    there = read_image(out / "anna_translated.nrrd").voxels
    assert abs(there - found.voxels).max() > 1


def test_what_was_translated_back_is_no_input_of_its_folder(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(ct(), tmp_path / "anna.nrrd")
    command = ("translate", "--model", model, "--output", tmp_path, "--device", "cpu")
    for _ in range(2):
        assert run(*command, "--direction", BACKWARD, tmp_path) == 0
    names = {"anna.nrrd", "anna_translated_to_source.nrrd"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_model_of_one_direction_refuses_the_other_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_untrained_model(tmp_path / "one.dtmodel")
    image = write_volume(tmp_path / "ct.nrrd", 2, 16)
    out = tmp_path / "out"
    code = run("translate", "--model", model, "--output", out, "--direction", BACKWARD, image)
    message = capsys.readouterr().err
    assert code == 3
    assert "source-to-target" in message
    assert "target-to-source" in message
    assert not out.exists()


def test_no_other_direction_is_known(tmp_path: Path, model: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("translate", "--model", model, "--output", tmp_path, "--direction", "there", "x.nrrd")
    assert stopped.value.code == 2


def test_an_image_is_held_against_what_the_direction_has_learnt_from(model: Path) -> None:
    there = read_model(model)
    back = there.in_direction(BACKWARD)
    assert doubts(mr(), there) == ()
    assert doubts(ct(), back) == ()
    assert [doubt.kind for doubt in doubts(ct(), there)] == ["intensities"]
    assert [doubt.kind for doubt in doubts(mr(), back)] == ["units"]


def test_a_model_turned_twice_is_itself(model: Path) -> None:
    there = read_model(model)
    back = there.in_direction(BACKWARD)
    assert back.direction == BACKWARD
    assert back.directions == (FORWARD, BACKWARD)
    assert (back.recipe.inputs[0].units, back.recipe.target.units) == ("HU", "")
    assert back.in_direction(BACKWARD) is back
    assert back.in_direction(FORWARD) == there


def test_a_turned_model_translates_its_own_direction(model: Path) -> None:
    back = read_model(model).in_direction(BACKWARD)
    found = Translator.from_model(back, CPU).translate(ct()).voxels
    np.testing.assert_allclose(found, backward_by_hand(ct()), atol=1e-2)
    there = Translator.from_model(back, CPU, direction=FORWARD).translate(mr()).voxels
    expected = Translator.from_model(read_model(model), CPU).translate(mr()).voxels
    np.testing.assert_array_equal(there, expected)


def test_a_card_that_knows_nothing_of_the_target_raises_no_doubt(model: Path) -> None:
    there = read_model(model)
    known = there.card.cohort["training"]["intensity_histogram"]
    card = dataclasses.replace(there.card, cohort={"training": {"intensity_histogram": known}})
    back = Model(there.path, there.recipe, card).in_direction(BACKWARD)
    assert doubts(ct(), back) == ()


def context(folder: Path) -> JobContext:
    return JobContext(folder, lambda event: None, lambda: False)


def test_one_worker_does_jobs_of_both_directions(tmp_path: Path, model: Path) -> None:
    write_image(ct(), tmp_path / "ct.nrrd")
    handlers = Handlers()
    found = {}
    for direction in (FORWARD, BACKWARD, FORWARD):
        output = f"{direction}.nrrd"
        job = TranslateJob(
            str(model), {"image": "ct.nrrd"}, output, "ct", device="cpu", direction=direction
        )
        result = handlers.do(read_job(write_job(tmp_path, job)), context(tmp_path))
        assert result["direction"] == direction
        found.setdefault(direction, []).append(read_image(tmp_path / output).voxels)
    np.testing.assert_allclose(found[BACKWARD][0], backward_by_hand(ct()), atol=1e-2)
    np.testing.assert_array_equal(*found[FORWARD])


def test_a_job_of_a_direction_that_is_none_or_is_not_there_is_refused(tmp_path: Path) -> None:
    job = TranslateJob("m.dtmodel", {"image": "i.nrrd"}, "o.nrrd", "i", direction="there")
    with pytest.raises(JobError, match="direction"):
        write_job(tmp_path, job)
    one = write_untrained_model(tmp_path / "one.dtmodel")
    job = TranslateJob(str(one), {"image": "i.nrrd"}, "o.nrrd", "i", direction=BACKWARD)
    with pytest.raises(ModelError, match="source-to-target"):
        Handlers().do(job, context(tmp_path))


def test_a_job_that_says_no_direction_goes_from_source_to_target(tmp_path: Path) -> None:
    write_job(tmp_path, TranslateJob("m.dtmodel", {"image": "i.nrrd"}, "o.nrrd", "i"))
    path = tmp_path / "job.json"
    content = json.loads(path.read_text())
    del content["direction"]
    path.write_text(json.dumps(content))
    job = read_job(tmp_path)
    assert isinstance(job, TranslateJob)
    assert job.direction == FORWARD


def test_models_and_info_tell_what_each_direction_reads_and_makes(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "--json", model.parent) == 0
    (record,) = last_json(capsys)["models"]
    assert run("info", "--json", model) == 0
    ways = last_json(capsys)["directions"]
    assert record["directions"] == ways
    assert ways[FORWARD]["input"] == {"modality": "MR", "units": ""}
    assert ways[FORWARD]["output"]["units"] == "HU"
    assert ways[BACKWARD]["input"] == {"modality": "CT", "units": "HU"}
    assert ways[BACKWARD]["output"] == {
        "kind": "volume",
        "modality": "MR",
        "units": "",
        "range": [0, 300],
    }
    assert run("info", model) == 0
    shown = capsys.readouterr().out
    assert "source-to-target: MR to CT (HU)" in shown
    assert "target-to-source: CT (HU) to MR" in shown


def test_a_model_of_labels_tells_its_one_direction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_untrained_model(tmp_path / "one.dtmodel")
    assert run("models", tmp_path) == 0
    assert "CT (HU) to labels" in capsys.readouterr().out
    assert run("info", "--json", model) == 0
    assert list(last_json(capsys)["directions"]) == [FORWARD]
