"""`deeptranslate register` and `deeptranslate prepare`: files, answers, refusals, going on."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from engine_samples import oblique_affine
from registration_samples import LANDMARKS, RIGID, UPRIGHT, pair, placed

from DeepTranslateLib.cli import main
from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.image.transform import Transform, read_transform, write_transform
from DeepTranslateLib.phantom import torso

pytestmark = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, *arguments: object) -> int:
    return main([command, *map(str, arguments)])


def last(capfd: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capfd.readouterr().out.splitlines()[-1])


def write_pair() -> tuple[Image, Image]:
    fixed, moving = pair()
    write_image(fixed, "fixed.nrrd")
    write_image(moving, "moving.nrrd")
    return fixed, moving


def labels_of(image: Image) -> Image:
    """Four labels, as a person might mark them in the second modality of the blobs."""
    edges = (40, 60, 80)
    return image.with_voxels((7 * np.digitize(image.voxels, edges)).astype(np.uint8))


def write_table(rows: list[list[object]], header: str = "subject,image,target") -> None:
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    Path("cohort.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(path: Path | str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_phantoms(count: int = 2) -> list[Image]:
    """A cohort of small phantoms with labels: cohort.csv."""
    rows, images = [], []
    for seed in range(count):
        subject = torso(seed, 0.4, slices=3, size=(96, 96), spacing=(5.0, 5.0, 10.0))
        images.append(subject.image)
        write_image(subject.image, f"ct{seed}.nrrd")
        write_image(subject.labels, f"labels{seed}.nrrd")
        rows.append([f"p{seed}", f"ct{seed}.nrrd", f"labels{seed}.nrrd", "test" * (seed == 0)])
    write_table(rows, "subject,image,labels,split")
    return images


# register


def test_register_writes_image_labels_and_a_transform_that_gives_them_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    fixed, moving = write_pair()
    write_image(labels_of(moving), "tissue.nrrd")
    files = ["--fixed", "fixed.nrrd", "--moving", "moving.nrrd"]
    more = ["--kind", "rigid", "--iterations", 60, "--transform-output", "t.tfm", "--json"]
    assert run("register", *files, *more, "--labels", "tissue.nrrd", "--output", "out.nrrd") == 0
    result = last(capfd)
    assert result["improved"] is True
    assert result["after"]["information"] > result["before"]["information"]
    transform = read_transform("t.tfm")
    apart = transform.points(LANDMARKS) - placed(RIGID, LANDMARKS)
    assert np.linalg.norm(apart, axis=1).max() < 0.6
    made, labels = read_image("out.nrrd"), read_image("tissue_registered.nrrd")
    assert made.same_grid(fixed)
    assert labels.same_grid(fixed)
    assert set(np.unique(labels.voxels)) <= {0, 7, 14, 21}
    assert np.count_nonzero(labels.voxels == 21) > 100
    assert run("register", *files, "--apply", "t.tfm", "--output", "again.nrrd") == 0
    assert Path("again.nrrd").read_bytes() == Path("out.nrrd").read_bytes()


def test_undo_brings_a_label_map_back_onto_the_original_s_grid() -> None:
    _, moving = write_pair()
    write_transform(Transform((RIGID,)), "t.tfm")
    files = ["--fixed", "fixed.nrrd", "--moving", "moving.nrrd", "--apply", "t.tfm"]
    assert run("register", *files, "--output", "there.nrrd") == 0
    # What a model would make of the image on the reference's grid, and it brought back.
    write_image(labels_of(read_image("there.nrrd")), "made.nrrd")
    back = ["--fixed", "moving.nrrd", "--moving", "made.nrrd", "--apply", "t.tfm", "--undo"]
    assert run("register", *back, "--output", "back.nrrd") == 0
    found, expected = read_image("back.nrrd"), labels_of(moving)
    assert found.same_grid(moving)
    assert set(np.unique(found.voxels)) == {0, 7, 14, 21}
    both = (found.voxels > 0) & (expected.voxels > 0)
    assert 2 * both.sum() / ((found.voxels > 0).sum() + (expected.voxels > 0).sum()) > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "rigid", "--undo"], "Give it with --apply"),
        (["--apply", "t.tfm", "--iterations", "5"], "--iterations belongs to a search"),
        (["--apply", "none.tfm"], "none.tfm does not exist"),
        (["--kind", "rigid", "--transform-output", "t.json"], "must be one of .tfm"),
        (["--kind", "rigid", "--transform-output", "no/t.tfm"], "there is no folder no"),
        (["--kind", "rigid", "--output", "o.png"], "must be one of .nrrd"),
        (["--apply", "t.tfm", "--labels", "a/l.nrrd", "b/l.nrrd"], "the same name"),
    ],
)
def test_register_refuses_what_makes_no_sense(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_pair()
    write_transform(Transform((RIGID,)), "t.tfm")
    files = ["--fixed", "fixed.nrrd", "--moving", "moving.nrrd", "--output", "o.nrrd"]
    assert run("register", *files, *arguments) == 3
    assert message in " ".join(capfd.readouterr().err.split())
    assert not Path("o.nrrd").exists()


def test_register_does_not_overwrite_its_inputs() -> None:
    write_pair()
    write_transform(Transform((RIGID,)), "t.tfm")
    before = Path("moving.nrrd").read_bytes()
    files = ["--fixed", "fixed.nrrd", "--moving", "moving.nrrd", "--apply", "t.tfm"]
    assert run("register", *files, "--output", "moving.nrrd") == 3
    assert Path("moving.nrrd").read_bytes() == before


# prepare


def test_tables_go_and_spacings_become_the_same_and_labels_keep_their_values() -> None:
    images = write_phantoms()
    sources = {path: path.read_bytes() for path in Path().iterdir()}
    more = ["--remove-table", "--spacing", "7.5,7.5,10"]
    assert run("prepare", "--cohort", "cohort.csv", "--output", "new", *more) == 0
    cohort = read_cohort("new/cohort.csv")
    assert [case.subject for case in cohort.cases] == ["p0", "p1"]
    assert [case.split for case in cohort.cases] == ["test", None]
    for case, before in zip(cohort.cases, images, strict=True):
        image, labels = case.read_image(), case.read_target()
        assert np.allclose(image.spacing, (7.5, 7.5, 10))
        assert image.same_grid(labels)
        assert image.voxels.dtype == np.int16
        assert set(np.unique(labels.voxels)) == {0, 1, 2, 3}
        # The same tissue in mL, and no table behind the patient.
        old = read_image(f"labels{case.subject[1]}.nrrd")
        for value in (1, 2, 3):
            ml = (labels.voxels == value).sum() * labels.voxel_volume_mm3 / 1000
            assert ml == pytest.approx(
                (old.voxels == value).sum() * old.voxel_volume_mm3 / 1000, rel=0.1
            )
        assert np.count_nonzero(before.voxels[:, _behind(old)] > -700) > 50
        assert np.count_nonzero(image.voxels[:, _behind(labels)] > -900) == 0
        # What a model makes of a prepared image comes back onto the original.
        case_folder, number = f"new/cases/{case.subject}", case.subject[1]
        undo = ["--fixed", f"ct{number}.nrrd", "--moving", f"{case_folder}/target.nrrd", "--undo"]
        undo += ["--apply", f"{case_folder}/transform.tfm", "--output", "back.nrrd"]
        assert run("register", *undo) == 0
        back = read_image("back.nrrd")
        assert back.same_grid(before)
        assert np.mean(back.voxels == old.voxels) > 0.95
    assert {path: path.read_bytes() for path in sources} == sources


def _behind(labels: Image) -> slice:
    """Rows behind a patient who lies on the back, two further."""
    return slice(int(np.argwhere(labels.voxels)[:, 1].max()) + 3, None)


def test_a_prepared_cohort_is_gone_on_with_and_only_what_changed_is_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from DeepTranslateLib.engine import preparation

    write_phantoms(3)
    done: list[float] = []
    prepare_case = preparation.prepare_case

    def counted(image: Image, *rest: object) -> object:
        done.append(float(image.voxels.mean()))
        if len(done) == 2:
            raise KeyboardInterrupt
        return prepare_case(image, *rest)

    monkeypatch.setattr(preparation, "prepare_case", counted)
    command = ["--cohort", "cohort.csv", "--output", "new", "--spacing", 10]
    assert run("prepare", *command) == 130
    assert not Path("new/cohort.csv").exists()
    assert run("prepare", *command) == 0
    assert len(done) == 4  # one, one that was stopped, and the two that were missing
    written = {path: path.stat().st_mtime_ns for path in Path("new/cases").rglob("*.nrrd")}
    image = read_image("ct1.nrrd")
    write_image(image.with_voxels(image.voxels + 1), "ct1.nrrd")
    assert run("prepare", *command) == 0
    assert len(done) == 5
    after = {path: path.stat().st_mtime_ns for path in written}
    assert {path.parent.name for path in written if after[path] != written[path]} == {"p1"}


def test_a_pair_is_registered_and_the_target_masked_where_it_does_not_reach(
    capfd: pytest.CaptureFixture[str],
) -> None:
    fixed, moving = write_pair()
    # Only the lower half of the target was measured.
    write_image(moving.cropped((0, 0, 0), (36, 30, 16)), "half.nrrd")
    write_table([["a", "fixed.nrrd", "moving.nrrd"], ["b", "fixed.nrrd", "half.nrrd"]])
    more = ["--register", "rigid", "--iterations", 60, "--json"]
    assert run("prepare", "--cohort", "cohort.csv", "--output", "new", *more) == 0
    result = last(capfd)
    assert [case["registered"] for case in result["cases"]] == [True, True]
    report = table("new/report.csv")
    assert [row["registered"] for row in report] == ["yes", "yes"]
    assert all(float(r["information_after"]) > float(r["information_before"]) for r in report)
    whole, half = read_cohort("new/cohort.csv").cases
    reached = half.read_mask()
    assert reached is not None
    assert 0.2 < reached.voxels.mean() < 0.7
    assert whole.read_target().same_grid(fixed)
    transform = read_transform("new/cases/a/target_transform.tfm")
    apart = transform.points(LANDMARKS) - placed(RIGID, LANDMARKS)
    assert np.linalg.norm(apart, axis=1).max() < 0.6


def test_a_registration_that_makes_things_worse_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from DeepTranslateLib.engine import preparation
    from DeepTranslateLib.engine.alignment import measure_alignment
    from DeepTranslateLib.engine.registration import Registration

    fixed, moving = pair(np.eye(4))
    write_image(fixed, "fixed.nrrd")
    write_image(moving, "moving.nrrd")
    write_table([["a", "fixed.nrrd", "moving.nrrd"]])

    def lost(first: Image, second: Image, *rest: object, **more: object) -> Registration:
        wrong = Transform((RIGID,))
        before, after = (measure_alignment(first, second, t) for t in (Transform(), wrong))
        return Registration(wrong, "headers", before, after)

    monkeypatch.setattr(preparation, "register", lost)
    command = ["--cohort", "cohort.csv", "--output", "new", "--register", "rigid"]
    assert run("prepare", *command) == 0
    assert "is not kept" in capfd.readouterr().err
    target = read_image("new/cases/a/target.nrrd")
    expected = moving.resampled_to(fixed, "linear", float(moving.voxels.min()))
    assert np.array_equal(target.voxels, expected.voxels)
    assert not Path("new/cases/a/target_transform.tfm").exists()
    assert table("new/report.csv")[0]["registered"] == "not kept"


def test_images_are_brought_onto_a_reference_with_their_labels_and_masks() -> None:
    reference, image = pair()
    write_image(reference, "reference.nrrd")
    write_image(image, "image.nrrd")
    write_image(labels_of(image), "labels.nrrd")
    write_image(image.with_voxels((image.voxels > 20).astype(np.uint8)), "mask.nrrd")
    header = "subject,image,labels,mask"
    write_table([["a", "image.nrrd", "labels.nrrd", "mask.nrrd"]], header)
    more = ["--register", "rigid", "--reference", "reference.nrrd", "--iterations", 60]
    assert run("prepare", "--cohort", "cohort.csv", "--output", "new", *more) == 0
    (case,) = read_cohort("new/cohort.csv").cases
    made, labels, mask = case.read_image(), case.read_target(), case.read_mask()
    assert mask is not None
    assert all(part.same_grid(reference) for part in (made, labels, mask))
    assert set(np.unique(labels.voxels)) <= {0, 7, 14, 21}
    assert np.corrcoef(np.sqrt(reference.voxels.clip(0)).ravel(), made.voxels.ravel())[0, 1] > 0.98
    assert (labels.voxels[mask.voxels == 0] == 0).mean() > 0.5


def test_a_case_that_fails_does_not_stop_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    write_phantoms(2)
    rows = [["p0", "ct0.nrrd", "labels0.nrrd"], ["gone", "none.nrrd", ""]]
    write_table(rows, "subject,image,labels")
    command = ["--cohort", "cohort.csv", "--output", "new", "--spacing", 8]
    assert run("prepare", *command) == 4
    assert "none.nrrd does not exist" in capfd.readouterr().err
    assert [row["subject"] for row in table("new/cohort.csv")] == ["p0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There is nothing to do"),
        (["--spacing", "5", "--reference", "ct0.nrrd"], "Give --register"),
        (["--register", "rigid"], "a label map as its target"),
    ],
)
def test_prepare_refuses_what_makes_no_sense(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_phantoms(1)
    assert run("prepare", "--cohort", "cohort.csv", "--output", "new", *arguments) == 3
    assert message in " ".join(capfd.readouterr().err.split())


def test_prepare_touches_no_folder_that_it_did_not_begin(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_phantoms(1)
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    command = ["--cohort", "cohort.csv", "--spacing", 8]
    assert run("prepare", *command, "--output", "mine") == 3
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]
    assert run("prepare", *command, "--output", ".") == 3
    assert "lies in" in capfd.readouterr().err
    assert run("prepare", *command, "--output", "new") == 0
    assert run("prepare", "--cohort", "cohort.csv", "--spacing", 9, "--output", "new") == 3
    assert "another choice of spacing" in capfd.readouterr().err


def test_labelled_slices_do_not_survive_another_grid(capfd: pytest.CaptureFixture[str]) -> None:
    write_phantoms(1)
    write_table([["p0", "ct0.nrrd", "labels0.nrrd", "1;2"]], "subject,image,labels,slices")
    assert run("prepare", "--cohort", "cohort.csv", "--output", "a", "--spacing", 8) == 3
    assert "another grid does not have" in capfd.readouterr().err
    assert run("prepare", "--cohort", "cohort.csv", "--output", "b", "--remove-table") == 0
    assert read_cohort("b/cohort.csv").cases[0].slices == (1, 2)


def test_coarser_voxels_are_averages_and_hold_no_aliases() -> None:
    # Stripes finer than the new voxels: their mean is left, not one of their two values.
    affine = oblique_affine((1.0, 1.0, 1.0))
    voxels = np.tile(np.array([0, 1000], np.int16), (12, 24, 12))
    write_image(Image(voxels, affine), "stripes.nrrd")
    write_table([["a", "stripes.nrrd", ""]])
    assert run("prepare", "--cohort", "cohort.csv", "--output", "new", "--spacing", 4) == 0
    made = read_image("new/cases/a/image.nrrd").voxels
    inner = made[1:-1, 1:-1, 1:-1]
    assert np.abs(inner.astype(float) - 500).max() < 60


def test_spacing_is_counted_along_the_patient_s_axes() -> None:
    image = UPRIGHT.with_voxels(np.random.default_rng(0).random(UPRIGHT.shape).astype(np.float32))
    write_image(image.oriented("SPR"), "image.nrrd")
    write_table([["a", "image.nrrd", ""]])
    assert run("prepare", "--cohort", "cohort.csv", "--output", "new", "--spacing", "2,4,8") == 0
    made = read_image("new/cases/a/image.nrrd")
    assert made.orientation == "SPR"
    assert np.allclose(made.spacing, (8, 4, 2))


def test_masks_that_lie_elsewhere_and_voxels_that_are_no_numbers_are_refused(
    capfd: pytest.CaptureFixture[str],
) -> None:
    image = write_phantoms(1)[0]
    holed = image.voxels.astype(np.float32)
    holed[0, 0, :3] = np.nan
    write_image(image.with_voxels(holed), "holed.nrrd")
    affine = image.affine.copy()
    affine[0, 3] += 20
    write_image(Image(np.ones(image.shape, np.uint8), affine), "moved.nrrd")
    write_image(image, "whole.nrrd")
    write_table([["a", "holed.nrrd", ""], ["b", "whole.nrrd", "moved.nrrd"]], "subject,image,mask")
    assert run("prepare", "--cohort", "cohort.csv", "--output", "out", "--spacing", 4) == 3
    told = " ".join(capfd.readouterr().err.split())
    assert "a: 3 voxels of the image are no numbers" in told
    assert "b: The mask lies on another grid than the image" in told


def test_domains_are_kept_and_tables_are_removed_from_ct_alone() -> None:
    """Also where the cohort says them only when the folder is gone on with."""
    (ct,) = write_phantoms(1)
    mr = ct.with_voxels(((ct.voxels + 1000) / 4).astype(np.float32))
    write_image(mr, "mr.nrrd")
    rows = [["a", "mr.nrrd"], ["b", "ct0.nrrd"]]
    command = ["--cohort", "cohort.csv", "--output", "new", "--remove-table"]
    write_table(rows, "subject,image")
    assert run("prepare", *command) == 4
    write_table([["a", "mr.nrrd", "source"], ["b", "ct0.nrrd", "target"]], "subject,image,domain")
    assert run("prepare", *command) == 0
    source, target = read_cohort("new/cohort.csv").cases
    assert (source.domain, target.domain) == ("source", "target")
    assert np.array_equal(source.read_image().voxels, mr.voxels)
    assert not np.array_equal(target.read_image().voxels, ct.voxels)
