"""`deeptranslate translate`: which inputs files, folders and DICOM series are."""

import pytest
import SimpleITK
from cli_samples import fails, names_in, run, run_json, write_series
from engine_samples import lps_affine, random_hu

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image

pytestmark = pytest.mark.usefixtures("no_hang")


def test_a_folder_of_files_is_all_its_images_but_labels_of_others(place, capfd):
    folder = place / "scans"
    folder.mkdir()
    for name in ("a", "a_labels", "b_labels"):  # only the first has labels beside it
        write_image(Image(random_hu((2, 16, 16)), lps_affine()), folder / f"{name}.nii.gz")
    (folder / "notes.txt").write_text("no image")
    (folder / ".a.part.nrrd").write_text("hidden")
    code, events = run_json(
        capfd, "translate", "--model", "labels.dtmodel", "--output", "out", folder
    )
    assert code == 0
    assert {row["volume"] for row in events[-1]["rows"]} == {"a", "b_labels"}


def test_the_output_folder_is_not_among_the_inputs(place, capfd):
    (place / "study" / "first").mkdir(parents=True)
    (place / "a.nrrd").rename(place / "study" / "first" / "a.nrrd")
    for _ in range(2):
        arguments = ["--model", "labels.dtmodel", "--output", "study/out", "study"]
        code, events = run_json(capfd, "translate", *arguments)
        assert code == 0
        assert {row["volume"] for row in events[-1]["rows"]} == {"a"}


def test_the_present_folder_has_a_name(place, monkeypatch):
    write_series(place / "patient", "1.2.3")
    monkeypatch.chdir(place / "patient")
    assert run("translate", "--model", "../labels.dtmodel", "--output", "../out", ".") == 0
    assert "patient_labels.nrrd" in names_in("../out")


def test_inputs_of_one_name_are_told_apart_by_their_folders(place, capfd):
    for folder in ("one", "two"):
        (place / folder).mkdir()
        (place / folder / "ct.nrrd").write_bytes((place / "a.nrrd").read_bytes())
    model = ["--model", "labels.dtmodel", "--output", "out"]
    assert run("translate", *model, "one/ct.nrrd", "two", "a.nrrd") == 0
    assert {"one_ct_labels.nrrd", "two_ct_labels.nrrd", "a_labels.nrrd"} < set(names_in("out"))
    write_image(read_image("a.nrrd"), "one/ct.nii")
    message = fails(capfd, 3, "translate", *model, "one/ct.nii", "one/ct.nrrd")
    assert "one/ct.nii and one/ct.nrrd would both" in message


def test_an_input_is_never_overwritten(place, capfd):
    (place / "a.nrrd").rename(place / "b_labels.nrrd")
    before = (place / "b_labels.nrrd").read_bytes()
    inputs = ["b.nrrd", "b_labels.nrrd"]
    assert run("translate", "--model", "labels.dtmodel", "--output", ".", *inputs) == 4
    assert "would be overwritten" in capfd.readouterr().err
    assert (place / "b_labels.nrrd").read_bytes() == before


def test_a_folder_without_images(place, capfd):
    (place / "empty" / "inside").mkdir(parents=True)
    message = fails(capfd, 3, "translate", "--model", "labels.dtmodel", "--output", "out", "empty")
    assert message.startswith("The folder empty holds no images")


def test_a_dicom_folder_is_one_volume_and_a_folder_of_them_one_each(place, capfd):
    for name in ("first", "second"):
        write_series(place / "study" / name, "1.2.3")
    (place / "study" / "empty").mkdir()
    model = ["translate", "--model", "labels.dtmodel", "--output", "out"]
    assert run(*model, "study/first") == 0
    output = SimpleITK.ReadImage("out/first_labels.nrrd")
    assert output.GetSize() == (20, 16, 3)
    assert output.GetSpacing() == pytest.approx((1, 1, 2.5))
    assert run(*model, "study") == 0
    assert {"first_labels.nrrd", "second_labels.nrrd"} < set(names_in("out"))


def test_several_series_of_a_folder_are_listed_and_one_can_be_chosen(place, capfd):
    write_series(place / "mixed", "1.2.3")
    write_series(place / "mixed", "1.2.4", slices=2)
    model = ["translate", "--model", "labels.dtmodel", "--output", "out"]
    message = fails(capfd, 3, *model, "mixed")
    for said in ('1.2.3 "series 1.2.3" CT, 3 slices', '1.2.4 "series 1.2.4" CT, 2 slices'):
        assert said in message
    assert "--series" in message
    assert run(*model, "mixed", "--series", "1.2.4") == 0
    assert read_image("out/mixed_labels.nrrd").shape == (2, 16, 20)
