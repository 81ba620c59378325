"""`deeptranslate evaluate`: what it prints and answers, which kind it sees, what it refuses."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_samples import labels_recipe, lps_affine, oblique_affine, random_hu, volume_recipe
from test_engine_metrics_images import labels

from DeepTranslateLib.cli import main
from DeepTranslateLib.engine.intensities import prepared_target
from DeepTranslateLib.engine.metrics.images import label_metrics, volume_metrics
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.phantom_contrasts import head
from DeepTranslateLib.recipe import recipe_from_json, write_recipe
from DeepTranslateLib.schema import to_json

AFFINE = oblique_affine()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pair of label maps, a pair of volumes and a mask on one grid."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("labels", "truth")):
        write_image(labels(seed, AFFINE), tmp_path / f"{name}.nrrd")
    for seed, name in enumerate(("synthetic", "ct"), start=5):
        write_image(Image(random_hu((6, 20, 22), seed), AFFINE), tmp_path / f"{name}.nrrd")
    mask = np.random.default_rng(7).random((6, 20, 22)) > 0.3
    write_image(Image(mask, AFFINE), tmp_path / "mask.nrrd")
    return tmp_path


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def result_of(capfd: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """The result of a call with --json, strict JSON and nothing else on the streams."""
    capfd.readouterr()
    assert evaluate(*arguments, "--json") == 0
    out, err = capfd.readouterr()
    assert err == ""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    events = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    assert events[-1]["event"] == "result"
    return events[-1]


def refusal(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    capfd.readouterr()
    assert evaluate(*arguments) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "Something unexpected" not in err
    return " ".join(err.split())


PAIR = ("--prediction", "labels.nrrd", "--reference", "truth.nrrd")
VOLUMES = ("--prediction", "synthetic.nrrd", "--reference", "ct.nrrd")


def test_label_maps_get_the_label_metrics_of_each_value(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = result_of(capfd, *PAIR)
    images = [read_image(place / name) for name in ("labels.nrrd", "truth.nrrd")]
    expected = [to_json(row) for row in label_metrics(*images, (1, 2))]
    assert result["kind"] == "labels"
    assert result["tolerance_mm"] == 2
    assert [row.pop("name") for row in result["labels"]] == ["label 1", "label 2"]
    assert result["labels"] == expected
    assert (result["prediction"], result["reference"]) == ("labels.nrrd", "truth.nrrd")
    assert result["mask"] is None


def test_a_mask_and_a_tolerance_are_used(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = result_of(capfd, *PAIR, "--mask", "mask.nrrd", "--tolerance", 5)
    images = [read_image(place / name) for name in ("labels.nrrd", "truth.nrrd")]
    mask = read_image(place / "mask.nrrd")
    expected = label_metrics(*images, (1, 2), mask=mask, tolerance=5)
    for row, wanted in zip(result["labels"], expected, strict=True):
        assert row == {"name": f"label {wanted.value}", **to_json(wanted)}


def test_volumes_get_the_intensity_metrics_inside_the_mask(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = [read_image(place / name) for name in ("synthetic.nrrd", "ct.nrrd")]
    mask = read_image(place / "mask.nrrd")
    for arguments, options in (
        ((), {}),
        (("--mask", "mask.nrrd"), {"mask": mask}),
        (("--range", -1000, 3000), {"value_range": (-1000, 3000)}),
    ):
        result = result_of(capfd, *VOLUMES, *arguments)
        assert (result["kind"], result["units"]) == ("volume", "")
        assert result["metrics"] == to_json(volume_metrics(*images, **options))


def test_people_read_a_table_and_what_it_refers_to(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*PAIR) == 0
    out, _ = capfd.readouterr()
    head, first, second, _, foot = out.splitlines()
    assert head.split()[:2] == ["label", "Dice"]
    assert first.startswith("label 1")
    assert second.startswith("label 2")
    assert foot == "Surface Dice at 2 mm."
    write_recipe(volume_recipe(), place / "recipe.json")
    assert evaluate(*VOLUMES, "--mask", "mask.nrrd", "--recipe", "recipe.json") == 0
    out, _ = capfd.readouterr()
    mae = volume_metrics(
        *(read_image(place / name) for name in ("synthetic.nrrd", "ct.nrrd")),
        mask=read_image(place / "mask.nrrd"),
    ).mae
    assert out.splitlines()[0].split() == ["MAE", f"{mae:.5g}", "HU"]
    assert "dB" in out
    assert out.splitlines()[-1].endswith("(those in the mask). PSNR and SSIM refer to the range "
                                         "from -1000 to 1000 HU.")  # fmt: skip


def test_a_recipe_names_labels_merges_their_values_and_leaves_out_what_it_ignores(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = to_json(labels_recipe(2))
    content["target"]["labels"][0]["also"] = [3]
    content["target"]["ignore"] = 9
    write_recipe(recipe_from_json(content), place / "recipe.json")
    reference = np.zeros((1, 6, 10), np.uint8)
    reference[:, :3, :4], reference[:, :3, 4:6], reference[:, 3:] = 10, 3, 9
    prediction = np.zeros_like(reference)
    prediction[:, :, :6] = 10
    for name, voxels in (("a", prediction), ("b", reference)):
        write_image(Image(voxels, lps_affine()), place / f"{name}.nii.gz")
    result = result_of(
        capfd, "--prediction", "a.nii.gz", "--reference", "b.nii.gz", "--recipe", "recipe.json"
    )
    first, second = result["labels"]
    assert (first["name"], first["value"], first["dice"]) == ("label 1", 10, 1)
    assert first["hausdorff95_mm"] == 0
    assert (second["name"], second["dice"], second["hausdorff95_mm"]) == ("label 2", None, None)


def test_values_that_the_recipe_does_not_know_are_warned_of(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_recipe(labels_recipe(1), place / "recipe.json")
    assert evaluate(*PAIR, "--recipe", "recipe.json") == 0
    _, err = capfd.readouterr()
    assert "labels.nrrd holds values that the recipe 'tiny' does not know: 1, 2" in err


def test_a_recipe_says_the_range_and_the_unit_of_a_volume(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_recipe(volume_recipe(), place / "recipe.json")
    result = result_of(capfd, *VOLUMES, "--recipe", "recipe.json")
    assert result["units"] == "HU"
    assert (result["metrics"]["lowest"], result["metrics"]["highest"]) == (-1000, 1000)
    result = result_of(capfd, *VOLUMES, "--recipe", "recipe.json", "--range", 0, 50)
    assert (result["metrics"]["lowest"], result["metrics"]["highest"]) == (0, 50)


def test_a_recipe_brings_the_reference_to_the_scale_that_translations_are_on(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    t2 = head(3, slices=8).images["t2"]
    target = {"kind": "volume", "units": "", "range": [0, 4], "standardisation": "percentiles"}
    recipe = volume_recipe(target=target)
    write_recipe(recipe, place / "recipe.json")
    truth = prepared_target(t2, recipe)
    write_image(truth.with_voxels(truth.voxels + 0.25), place / "made.nrrd")
    write_image(t2.with_voxels(3 * t2.voxels.astype(np.float32)), place / "raw.nrrd")
    files = ("--prediction", "made.nrrd", "--reference", "raw.nrrd", "--kind", "volume")
    assert result_of(capfd, *files)["metrics"]["mae"] > 100
    # What scanners multiply by is nothing to a standard scale.
    metrics = result_of(capfd, *files, "--recipe", "recipe.json")["metrics"]
    assert metrics["mae"] == pytest.approx(0.25, abs=1e-3)


def test_padding_of_a_reference_in_hu_is_the_lowest_value_of_a_recipe(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_recipe(volume_recipe(), place / "recipe.json")
    image = read_image(place / "ct.nrrd")
    voxels = image.voxels.copy()
    voxels[:, :3] = -3024
    write_image(image.with_voxels(voxels), place / "padded.nrrd")
    write_image(image.with_voxels(np.maximum(voxels, -1000)), place / "made.nrrd")
    files = ("--prediction", "made.nrrd", "--reference", "padded.nrrd")
    assert result_of(capfd, *files)["metrics"]["mae"] == pytest.approx(2024 * 3 / 20)
    assert result_of(capfd, *files, "--recipe", "recipe.json")["metrics"]["mae"] == 0


def test_ssim_is_of_slices_of_the_recipes_plane(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = []
    for plane in ("axial", "coronal", "sagittal"):
        write_recipe(volume_recipe(sampling={"plane": plane}), place / "recipe.json")
        result = result_of(capfd, *VOLUMES, "--recipe", "recipe.json", "--range", -1000, 1000)
        expected = volume_metrics(
            read_image(place / "synthetic.nrrd"),
            read_image(place / "ct.nrrd"),
            value_range=(-1000, 1000),
            plane=plane,
        )
        assert result["metrics"]["ssim"] == pytest.approx(expected.ssim)
        found.append(expected.ssim)
    assert len(set(found)) == 3


def test_equal_volumes_have_no_finite_psnr_and_a_missed_label_no_finite_distance(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    same = ("--prediction", "ct.nrrd", "--reference", "ct.nrrd")
    metrics = result_of(capfd, *same)["metrics"]
    assert (metrics["mae"], metrics["psnr"], metrics["ssim"]) == (0, "inf", pytest.approx(1))
    assert evaluate(*same) == 0
    assert "inf dB" in capfd.readouterr()[0]
    empty = read_image(place / "labels.nrrd")
    write_image(empty.with_voxels(np.zeros_like(empty.voxels)), place / "empty.nrrd")
    missed = ("--prediction", "empty.nrrd", "--reference", "truth.nrrd")
    rows = result_of(capfd, *missed)["labels"]
    assert [(row["dice"], row["hausdorff95_mm"]) for row in rows] == [(0, "inf"), (0, "inf")]
    assert evaluate(*missed) == 0
    assert capfd.readouterr()[0].count("inf") == 4


def test_an_infinite_distance_is_told_from_an_undefined_one(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = np.zeros((2, 8, 8), np.uint8)
    reference[:, 2:5, 2:5] = 10
    write_image(Image(reference, AFFINE), place / "reference.nrrd")
    write_image(Image(np.zeros_like(reference), AFFINE), place / "nothing.nrrd")
    write_recipe(labels_recipe(2), place / "recipe.json")
    files = ("--prediction", "nothing.nrrd", "--reference", "reference.nrrd")
    missed, absent = result_of(capfd, *files, "--recipe", "recipe.json")["labels"]
    for name in ("hausdorff95_mm", "average_surface_distance_mm"):
        assert (missed[name], absent[name]) == ("inf", None)
    assert (missed["dice"], absent["dice"]) == (0, None)


def test_label_maps_of_floats_are_labels_and_pictures_with_many_values_are_not(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("labels", "truth"):
        image = read_image(place / f"{name}.nrrd")
        floats = image.with_voxels(image.voxels.astype(np.float32))
        write_image(floats, place / f"{name}.nii.gz")
    floats = ("--prediction", "labels.nii.gz", "--reference", "truth.nii.gz")
    assert result_of(capfd, *floats)["kind"] == "labels"
    assert result_of(capfd, *floats, "--kind", "volume")["kind"] == "volume"
    grey = np.random.default_rng(0).integers(0, 256, (2, 20, 20)).astype(np.uint8)
    write_image(Image(grey, AFFINE), place / "grey.nrrd")
    pictures = ("--prediction", "grey.nrrd", "--reference", "grey.nrrd")
    assert result_of(capfd, *pictures)["kind"] == "volume"


def test_images_on_different_grids_are_refused_with_a_way_out(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = read_image(place / "labels.nrrd")
    write_image(image.cropped((0, 0, 0), (22, 20, 5)), place / "short.nrrd")
    text = refusal(capfd, "--prediction", "short.nrrd", "--reference", "truth.nrrd")
    assert "22 x 20 x 5 voxels" in text
    assert "Resample it to the reference first" in text
    assert "The mask is not on the grid" in refusal(capfd, *PAIR, "--mask", "short.nrrd")


def test_what_cannot_be_compared_as_asked_is_refused(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "synthetic.nrrd is no label map" in refusal(capfd, *VOLUMES, "--kind", "labels")
    assert "--tolerance is for labels" in refusal(capfd, *VOLUMES, "--tolerance", 1)
    assert "--range is for volumes" in refusal(capfd, *PAIR, "--range", 0, 1)
    assert "is empty" in refusal(capfd, *VOLUMES, "--range", 5, 5)
    write_recipe(volume_recipe(), place / "recipe.json")
    text = refusal(capfd, *PAIR, "--recipe", "recipe.json", "--kind", "labels")
    assert "the recipe 'tiny' makes volume" in text
    assert "does not exist" in refusal(capfd, *PAIR, "--mask", "nothing.nrrd")
    image = read_image(place / "mask.nrrd")
    write_image(image.with_voxels(np.zeros_like(image.voxels)), place / "empty.nrrd")
    text = refusal(capfd, *VOLUMES, "--mask", "empty.nrrd")
    assert "empty.nrrd has no voxel that counts" in text
    text = refusal(capfd, "--prediction", "empty.nrrd", "--reference", "empty.nrrd")
    assert "Neither file holds a label" in text


@pytest.mark.parametrize("files", [PAIR, VOLUMES])
def test_a_mask_that_leaves_nothing_or_says_nothing_is_refused(
    place: Path, capfd: pytest.CaptureFixture[str], files: tuple[str, ...]
) -> None:
    image = read_image(place / "mask.nrrd")
    voxels = image.voxels.astype(np.float32)
    write_image(image.with_voxels(voxels * 0), place / "empty.nrrd")
    text = refusal(capfd, *files, "--mask", "empty.nrrd")
    assert "empty.nrrd has no voxel that counts: every one is 0. Give a mask" in text
    for broken in (np.nan, np.inf):
        voxels[0, 1, 2:4] = broken
        write_image(image.with_voxels(voxels), place / "broken.nrrd")
        text = refusal(capfd, *files, "--mask", "broken.nrrd")
        assert "broken.nrrd says neither inside nor outside: 2 of its voxels are NaN" in text


def test_a_reference_of_which_the_recipe_ignores_all_that_counts_is_refused(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = to_json(labels_recipe(2))
    content["target"]["ignore"] = 9
    write_recipe(recipe_from_json(content), place / "recipe.json")
    reference = np.full((2, 6, 6), 9, np.uint8)
    reference[0] = 10
    write_image(Image(reference, AFFINE), place / "a.nrrd")
    write_image(Image((reference == 9).astype(np.uint8), AFFINE), place / "second.nrrd")
    files = ("--prediction", "a.nrrd", "--reference", "a.nrrd", "--recipe", "recipe.json")
    assert result_of(capfd, *files)["labels"][0]["dice"] == 1
    text = refusal(capfd, *files, "--mask", "second.nrrd")
    assert "every one inside second.nrrd is 9, which the recipe 'tiny' ignores" in text


@pytest.mark.parametrize("limits", [("0", "inf"), ("nan", "5"), ("0", "1e999")])
def test_a_range_without_end_is_refused(
    place: Path, capfd: pytest.CaptureFixture[str], limits: tuple[str, str]
) -> None:
    text = refusal(capfd, *VOLUMES, "--range", *limits)
    assert f"two finite numbers, found {float(limits[0]):g} and {float(limits[1]):g}" in text


def test_a_tolerance_is_a_distance(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for wrong in ("-1", "nan", "inf", "far"):
        with pytest.raises(SystemExit) as caught:
            evaluate(*PAIR, "--tolerance", wrong)
        assert caught.value.code == 2
        assert "expected millimetres from 0" in capfd.readouterr()[1]


def test_label_maps_are_compared_without_loading_torch(place: Path) -> None:
    code = (
        "import sys\nfrom DeepTranslateLib.cli import main\n"
        f"assert main(['evaluate', *{PAIR!r}]) == 0\n"
        "assert not {'torch', 'monai', 'rich'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"],
        capture_output=True, text=True, check=False, cwd=place,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert not math.isnan(float(done.stdout.splitlines()[1].split()[2]))
