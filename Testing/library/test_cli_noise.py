"""`deeptranslate add-noise`: files, answers and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from engine_samples import oblique_affine, random_hu

from DeepTranslateLib.cli import main
from DeepTranslateLib.engine.noise import KINDS, add_noise
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image


@pytest.fixture
def ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """A CT, ct.nrrd in the folder that commands run in, and an MR, mr.nii.gz."""
    monkeypatch.chdir(tmp_path)
    image = Image(random_hu((4, 20, 24)), oblique_affine())
    write_image(image, "ct.nrrd")
    write_image(image.with_voxels(np.abs(image.voxels).astype(np.uint16)), "mr.nii.gz")
    return image


def run(*arguments: object) -> int:
    return main(["add-noise", *map(str, arguments)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_the_library_s_noise_on_the_input_s_grid_and_in_its_data_type(
    kind: str, ct: Image
) -> None:
    source = "mr.nii.gz" if kind == "rician" else "ct.nrrd"
    assert run("--kind", kind, "--seed", 7, "--output", "noisy.nrrd", source) == 0
    before, after = read_image(source), read_image("noisy.nrrd")
    assert after.same_grid(before)
    assert after.voxels.dtype == before.voxels.dtype
    assert np.array_equal(after.voxels, add_noise(before, kind, 7).voxels)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_the_same_seed_writes_the_same_file(suffix: str, ct: Image) -> None:
    for seed, name in ((3, "a"), (3, "b"), (4, "c")):
        assert run("--kind", "poisson", "--seed", seed, "--output", name + suffix, "ct.nrrd") == 0
    a, b, c = (Path(name + suffix).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_level_and_window_reach_the_noise(ct: Image) -> None:
    more = ["--level", 0.5, "--window", -100, 100, "--seed", 1]
    assert run("--kind", "pixel-subset", *more, "--output", "noisy.nrrd", "ct.nrrd") == 0
    expected = add_noise(ct, "pixel-subset", 1, 0.5, (-100, 100))
    assert np.array_equal(read_image("noisy.nrrd").voxels, expected.voxels)


def test_json_says_what_was_done(ct: Image, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--kind", "gaussian", "--seed", 2, "--output", "n.nrrd", "ct.nrrd", "--json") == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert result["event"] == "result"
    assert (result["kind"], result["seed"]) == ("gaussian", 2)
    assert (result["input"], result["output"]) == ("ct.nrrd", "n.nrrd")
    low, high = np.percentile(ct.voxels, (0.5, 99.5))
    assert result["level"] == pytest.approx(0.05 * (high - low))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "poisson", "--level", "2", "ct.nrrd"], "from 0 to 1"),
        (["--kind", "poisson", "mr.nii.gz"], "in HU"),
        (["--kind", "rician", "ct.nrrd"], "not negative"),
        (["--kind", "gaussian", "missing.nrrd"], "does not exist"),
        (["--kind", "gaussian", "--window", "5", "5", "ct.nrrd"], "lowest, highest"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_file(
    arguments: list[str], words: str, ct: Image, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--seed", 1, "--output", "noisy.nrrd", *arguments) == 3
    out, err = capfd.readouterr()
    assert words in " ".join(err.split())
    assert out == ""
    assert not Path("noisy.nrrd").exists()


def test_an_output_of_no_known_format_is_refused(
    ct: Image, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--kind", "gaussian", "--seed", 1, "--output", "noisy.png", "ct.nrrd") == 3
    assert "suffix" in capfd.readouterr().err


def test_the_input_is_not_written_over(ct: Image, capfd: pytest.CaptureFixture[str]) -> None:
    before = Path("ct.nrrd").read_bytes()
    assert run("--kind", "gaussian", "--seed", 1, "--output", "./ct.nrrd", "ct.nrrd") == 3
    assert "input itself" in capfd.readouterr().err
    assert Path("ct.nrrd").read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--kind", "salt", "--seed", "1"],
        ["--kind", "gaussian", "--seed", "-1"],
        ["--kind", "gaussian", "--seed", "one"],
        ["--kind", "gaussian"],
        ["--kind", "gaussian", "--seed", "1", "--level", "much"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], ct: Image) -> None:
    with pytest.raises(SystemExit) as stop:
        run(*arguments, "--output", "noisy.nrrd", "ct.nrrd")
    assert stop.value.code == 2


def test_help_says_what_the_level_of_each_kind_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    described = capsys.readouterr().out
    for kind in KINDS:
        assert f"\n  {kind} " in described
