"""The check of a cohort: each fault is found, named, explained, and nothing sound is blamed."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.cohort import Cohort, cohort_from_lists
from DeepTranslateLib.cohort.case import Case
from DeepTranslateLib.cohort.check import Fault, check_cohort, faults_table
from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import recipe_from_json

DATA = Path(
    os.environ.get("DEEPTRANSLATE_DATA") or Path(__file__).parents[3] / "shared" / "data"
).resolve()
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not here"),
]
AFFINE = np.diag([-0.8, -0.8, 5.0, 1.0])
LABELS = [
    {"value": 1, "name": "fat", "also": [11]},
    {"value": 2, "name": "lean"},
]


def recipe(units="HU", plane="axial", **target):
    return recipe_from_json(
        {
            "name": "test",
            "inputs": [{"units": units}],
            "target": {"kind": "labels", "labels": LABELS, **target},
            "sampling": {"plane": plane},
        }
    )


VOLUME = recipe_from_json(
    {
        "name": "test",
        "inputs": [{"units": ""}],
        "target": {"kind": "volume", "units": "HU", "range": [-1000, 1000]},
        "method": {"loss": "mae"},
    }
)


def ct(seed=0, shape=(6, 20, 24)):
    """Air around a body of fat and muscle."""
    voxels = np.full(shape, -1000.0)
    voxels[:, 4:16, 4:20] = -100
    voxels[:, 7:13, 8:16] = 50
    voxels += np.random.default_rng(seed).normal(0, 10, shape)
    return Image(voxels.astype(np.int16), AFFINE)


def labels(values=(1, 2), shape=(6, 20, 24), dtype=np.uint8):
    voxels = np.zeros(shape, dtype)
    voxels[:, 4:16, 4:20] = values[0]
    voxels[:, 7:13, 8:16] = values[1]
    return Image(voxels, AFFINE)


def edited(image, place, value):
    voxels = image.voxels.copy()
    voxels[place] = value
    return image.with_voxels(voxels)


def check(*cases, by=None):
    return check_cohort(Cohort(cases, "test"), by or recipe())


def only(faults, kind, severity="error"):
    assert [(fault.kind, fault.severity) for fault in faults] == [(kind, severity)]
    for text in (faults[0].found, faults[0].advice):
        assert text.endswith(".")
        assert "\n" not in text
    return faults[0]


# --- nothing to find


def test_a_sound_cohort_has_no_fault():
    assert check(Case("a", ct(0), labels()), Case("b", ct(1), labels())) == ()


@pytest.mark.parametrize("code", ["RAI", "SPL", "PIR"])
def test_labels_stored_in_another_order_of_axes_are_sound(code):
    assert check(Case("a", ct(), labels().oriented(code), (0, 5))) == ()


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_the_rounding_of_file_formats_is_no_geometry_mismatch(tmp_path, suffix):
    turned = AFFINE.copy()
    turned[:3, :3] = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0] * 0.77
    turned[:3, 3] = 123.456789
    image, target = Image(ct().voxels, turned), Image(labels().voxels, turned)
    path = write_image(target, tmp_path / f"labels{suffix}")
    assert check(Case("a", image, path), by=recipe("")) == ()


def test_progress_counts_the_cases():
    done = []
    cohort = Cohort((Case("a", ct(0), labels()), Case("b", ct(1), labels())), "test")
    check_cohort(cohort, recipe(), done.append)
    assert done == [1, 2]


# --- files


@pytest.mark.parametrize("what", ["image", "target"])
@pytest.mark.parametrize("content", [None, b"", b"no image at all"])
def test_a_file_that_cannot_be_read_is_a_fault_that_names_it(tmp_path, what, content):
    path = tmp_path / "broken.nii.gz"
    if content is not None:
        path.write_bytes(content)
    case = dataclasses.replace(Case("a", ct(), labels()), **{what: path})
    fault = only(check(case), f"unreadable_{what}")
    assert "broken.nii.gz" in fault.found


@settings(max_examples=60)
@given(st.binary(max_size=500), st.sampled_from([".nii", ".nrrd", ".dcm", ".mha", ".txt"]))
def test_no_file_makes_the_check_raise(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    assert "unreadable_image" in {fault.kind for fault in check(Case("a", path, labels()))}


def test_missing_labels_are_an_error_for_training_and_a_warning_in_the_test():
    only(check(Case("a", ct(), None)), "target_missing")
    only(check(Case("a", ct(), None, split="test")), "target_missing", "warning")


def test_the_other_cases_are_checked_after_a_broken_one(tmp_path):
    faults = check(Case("a", tmp_path / "no.nrrd", labels()), Case("b", ct(), labels((7, 2))))
    assert [(fault.subject, fault.kind) for fault in faults] == [
        ("a", "unreadable_image"),
        ("b", "label_values"),
    ]


# --- geometry


def test_labels_of_another_shape_are_found():
    fault = only(check(Case("a", ct(), labels(shape=(5, 20, 24)))), "shape_mismatch")
    assert "24 x 20 x 6" in fault.found
    assert "24 x 20 x 5" in fault.found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (np.diag([1, 1, 1.2, 1]), "spacings"),
        ([[1, 0, 0, 3], [0, 1, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]], "5.00 mm apart"),
        (np.diag([-1, 1, 1, 1]), "mm apart"),
    ],
)
def test_labels_that_lie_elsewhere_are_found(change, says):
    moved = Image(labels().voxels, np.asarray(change) @ AFFINE)
    assert says in only(check(Case("a", ct(), moved)), "geometry_mismatch").found


def test_labels_turned_about_the_centre_are_found():
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    image, target = ct(), labels()
    affine = turn @ AFFINE
    centre = (np.array(image.shape[::-1]) - 1) / 2
    affine[:3, 3] += image.ras(centre) - Image(target.voxels, affine).ras(centre)
    fault = only(check(Case("a", image, Image(target.voxels, affine))), "geometry_mismatch")
    assert "directions" in fault.found


# --- label maps


def test_unknown_values_are_listed_with_their_voxels():
    target = edited(labels(), (2, 0, slice(0, 3)), 9)
    fault = only(check(Case("a", ct(), target)), "label_values")
    assert "9 (3 voxels)" in fault.found
    assert "1 fat, 11 fat, 2 lean" in fault.found
    assert "also" in fault.advice


def test_further_values_of_a_label_and_the_ignored_one_are_known():
    assert check(Case("a", ct(), labels((11, 99))), by=recipe(ignore=99)) == ()
    only(check(Case("a", ct(), labels((11, 99)))), "label_values")


@pytest.mark.parametrize("value", [-1, 300, 70_000])
def test_values_that_no_label_can_have_are_found(value):
    fault = only(check(Case("a", ct(), labels((1, value), dtype=np.int32))), "label_values")
    assert f"{value} (288 voxels)" in fault.found or f"{value:g} (288" in fault.found


@pytest.mark.parametrize("value", [1.5, 0.25, np.nan])
def test_values_between_labels_are_told_from_unknown_labels(value):
    target = edited(labels(dtype=np.float32), (1, 0, 0), value)
    fault = only(check(Case("a", ct(), target)), "label_values")
    assert f"{value:g} (1 voxels)" in fault.found
    assert "interpolated" in fault.advice


def test_labels_stored_as_real_numbers_are_sound():
    assert check(Case("a", ct(), labels(dtype=np.float64))) == ()


def test_only_the_chosen_slices_count():
    target = edited(labels(), 3, 77)
    assert check(Case("a", ct(), target, (0, 5))) == ()
    only(check(Case("a", ct(), target, (0, 3))), "label_values")


@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
@pytest.mark.parametrize("code", ["LPS", "ASR"])
def test_chosen_slices_are_counted_along_the_plane_of_the_stored_image(plane, axis, code):
    place = [slice(None)] * 3
    place[axis] = 5
    target = edited(labels(), tuple(place), 77).oriented(code)
    image = ct().oriented(code)
    turned = {"LPS": (0, 1, 2), "ASR": (1, 2, 0)}[code]
    stored = turned[axis]
    flipped = {"LPS": (False,) * 3, "ASR": (False, True, True)}[code][axis]
    index = target.shape[stored] - 1 - 5 if flipped else 5
    kinds = {
        fault.kind for fault in check(Case("a", image, target, (index,)), by=recipe(plane=plane))
    }
    assert "label_values" in kinds
    other = index - 1
    kinds = {
        fault.kind for fault in check(Case("a", image, target, (other,)), by=recipe(plane=plane))
    }
    assert "label_values" not in kinds


def test_labels_on_some_slices_only_ask_to_name_them():
    target = edited(labels(), [0, 3, 4], 0)
    fault = only(check(Case("a", ct(), target)), "partly_labelled", "warning")
    assert "3 of 6 slices" in fault.found
    assert "1-2;5" in fault.advice
    assert check(Case("a", ct(), target, (1, 2, 5))) == ()


def test_a_slice_that_is_wholly_ignored_is_not_learnt_as_background():
    target = edited(labels(), [0, 3], 99)
    assert check(Case("a", ct(), target), by=recipe(ignore=99)) == ()


def test_an_empty_label_map_is_an_error_unless_its_slices_are_named():
    empty = edited(labels(), slice(None), 0)
    only(check(Case("a", ct(), empty)), "empty_labels")
    only(check(Case("a", ct(), empty, (1, 2))), "empty_labels", "warning")


def test_a_label_map_with_nothing_but_ignored_voxels_is_empty():
    only(check(Case("a", ct(), labels((99, 99))), by=recipe(ignore=99)), "empty_labels")


def test_named_slices_without_labels_are_found_where_labels_lie_elsewhere():
    target = edited(labels(), [0, 1, 2], 0)
    assert "3-5" in only(check(Case("a", ct(), target, (0, 1))), "empty_labels").found
    fault = only(check(Case("a", ct(), target, (2, 3, 4))), "empty_slices", "warning")
    assert "Slices 2 " in fault.found


def test_slices_outside_the_volume_are_found_and_the_others_still_checked():
    fault = only(check(Case("a", ct(), labels(), (1, 6, -1))), "slices_outside")
    assert "-1, 6" in fault.found or "6, -1" in fault.found
    assert "0 to 5" in fault.found
    kinds = {fault.kind for fault in check(Case("a", ct(), labels((7, 2)), (1, 6)))}
    assert kinds == {"slices_outside", "label_values"}


def test_repeated_slices_are_a_warning():
    fault = only(check(Case("a", ct(), labels(), (1, 1, 2))), "slices_repeated", "warning")
    assert "Slices 1 " in fault.found


# --- leakage


def test_the_same_file_in_two_cases_is_found(tmp_path):
    path = write_image(ct(), tmp_path / "ct.nrrd")
    fault = only(check(Case("a", path, labels()), Case("b", path, labels())), "duplicate_image")
    assert fault.subject == "b"
    assert "subject a" in fault.found


def test_the_same_voxels_under_another_name_format_and_type_are_found(tmp_path):
    first = write_image(ct(), tmp_path / "one.nrrd")
    copy = Image(ct().voxels.astype(np.float32), AFFINE)
    second = write_image(copy, tmp_path / "two.nii.gz")
    only(check(Case("a", first, labels()), Case("b", second, labels())), "duplicate_image")


def test_a_file_that_cannot_be_read_is_still_known_by_its_path(tmp_path):
    path = tmp_path / "no.nrrd"
    kinds = [fault.kind for fault in check(Case("a", path, labels()), Case("b", path, labels()))]
    assert kinds.count("duplicate_image") == 1


def test_one_label_map_for_two_subjects_is_found(tmp_path):
    path = write_image(labels(), tmp_path / "labels.nrrd")
    fault = only(check(Case("a", ct(0), path), Case("b", ct(1), path)), "duplicate_target")
    assert "labels.nrrd" in fault.found
    assert check(Case("a", ct(0), path), Case("a", ct(1), path)) == ()


def test_a_subject_on_both_sides_of_a_split_is_found():
    cases = [
        Case("a", ct(0), labels(), split="training"),
        Case("a", ct(1), labels(), split="test"),
        Case("b", ct(2), labels(), split="test"),
    ]
    fault = only(check(*cases), "subject_in_two_parts")
    assert (fault.subject, "test and training" in fault.found) == ("a", True)


# --- intensities


def in_units(scale, offset, low=-np.inf, high=np.inf):
    voxels = np.clip(ct().voxels.astype(float), low, high) * scale + offset
    return Image(voxels.astype(np.float32), AFFINE)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (in_units(1 / 600, 0.5, -300, 300), "display window"),
        (in_units(255 / 400, 160 * 255 / 400, -160, 240), "display window"),
        (in_units(1 / 300, 0, -300, 300), "display window"),
        (in_units(1, 1000), "intercept"),
        (in_units(1, 1024), "intercept"),
        (in_units(3, 4000), "0 to"),
    ],
    ids=["0..1", "0..255", "-1..1", "offset 1000", "offset 1024", "scaled"],
)
def test_images_that_are_not_in_hu_are_found(image, says):
    faults = check(Case("a", image, labels()))
    if says == "0 to":
        only(faults, "units")
    else:
        assert says in only(faults, "units").found
    assert check(Case("a", image, labels()), by=recipe("")) == ()


def test_padding_outside_the_scan_does_not_hide_a_missing_intercept():
    raw = edited(in_units(1, 1024), (slice(None), slice(0, 2)), -2000)
    assert "intercept" in only(check(Case("a", raw, labels())), "units").found


def test_padding_of_a_ct_in_hu_is_sound():
    padded = edited(ct(), (slice(None), slice(0, 2)), -3024)
    assert check(Case("a", padded, labels())) == ()


def test_a_crop_of_soft_tissue_without_air_is_sound():
    voxels = ct().voxels[:, 5:15, 5:19]
    assert voxels.min() > -200
    assert why_not_hounsfield(voxels) is None


def test_voxels_that_are_no_numbers_are_found():
    broken = edited(Image(ct().voxels.astype(np.float32), AFFINE), (0, 0, slice(0, 3)), np.nan)
    assert "3 voxels" in only(check(Case("a", broken, labels())), "not_finite").found


def test_a_target_volume_is_checked_for_its_units_and_its_grid():
    mr = Image(np.random.default_rng(0).normal(300, 50, ct().shape), AFFINE)
    assert check(Case("a", mr, ct()), by=VOLUME) == ()
    fault = only(check(Case("a", mr, in_units(1, 1024)), by=VOLUME), "units")
    assert "target" in fault.found
    moved = Image(ct().voxels, np.diag([-0.8, -0.8, 4.0, 1.0]))
    only(check(Case("a", mr, moved), by=VOLUME), "geometry_mismatch")


def test_labels_in_place_of_a_volume_in_hu_are_called_so():
    fault = only(check(Case("a", ct(), labels()), by=VOLUME), "labels_for_volume")
    assert "label map" in fault.found
    assert "column" in fault.advice
    # A picture of 0 to 255 in fractions, and a CT of whole numbers, are no label maps.
    only(check(Case("a", ct(), in_units(1 / 600, 0.5, -300, 300)), by=VOLUME), "units")
    whole = Image(ct().voxels.astype(np.int16), AFFINE)
    assert check(Case("a", in_units(1, 0), whole), by=VOLUME) == ()


# --- the table


def test_the_table_shows_every_word_within_its_width_errors_first():
    path = "/a/very/long/path/" + "x" * 150 + ".nii.gz"
    faults = [
        Fault("anna", "slices_repeated", "warning", "Slices 3 twice.", "Check."),
        Fault("patient-with-a-long-identifier-0001", "unreadable_image", "error", path, "Repair."),
    ]
    table = faults_table(faults)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["subject", "found", "what", "to", "do"]
    assert table.index("error") < table.index("warning")
    assert "".join(path.split()) in "".join(line[31:73].strip() for line in lines)
    assert "Repair." in table
    assert not any(line != line.rstrip() for line in lines)


def test_the_table_of_no_faults_says_so():
    assert faults_table([]) == "No faults."


# --- real images

CT_FILES = [
    "ct_abdomen_crlm1004/ct.nii.gz",
    "ct_abdomen_ts3mm/example_ct.nii.gz",
    "ct_abdomen_ts3mm/example_ct_sm.nii.gz",
    "ct_headneck_openkbp/pt_12.nii.gz",
    "ct_headneck_openkbp/pt_2.nii.gz",
    "ct_thin_lidc0314/lidc0314_lower16x1mm.nii.gz",
    "ct_phantom_philips_paired/soft_5mm.nii.gz",
    "paired_ct_mrt1_sts/STS_041/CT.nii.gz",
    "paired_ct_mrt1_sts/STS_024/CT.nii.gz",
]


class TestRealImages:
    pytestmark = real_data

    def check(self, *files, by=None):
        cohort = cohort_from_lists([DATA / file for file in files], None)
        faults = check_cohort(cohort, by or recipe())
        return [fault for fault in faults if fault.kind != "target_missing"]

    @pytest.mark.parametrize("file", CT_FILES)
    def test_a_ct_in_hu_is_sound(self, file):
        assert self.check(file) == []

    @pytest.mark.parametrize(
        ("file", "says"),
        [
            ("ct_head_mricrogl/ct_uint8.nii.gz", "display window"),
            ("ct_lowdose_lcd_simulated/fbp_dose010_signal_absent.nii.gz", "intercept"),
            ("mr_brain_stroke_cstar/T2.nii.gz", "0 to"),
        ],
    )
    def test_what_is_not_in_hu_is_found(self, file, says):
        assert says in only(self.check(file), "units").found

    def test_tissue_labels_of_a_real_ct_fit_it(self):
        folder = DATA / "ct_abdomen_crlm1004"
        tissues = [{"value": v, "name": n} for v, n in enumerate(("SAT", "VAT", "lean"), start=1)]
        cohort = cohort_from_lists(
            [folder / "ct.nii.gz"], [folder / "tissue.nii.gz"], slices=[range(27)]
        )
        assert check_cohort(cohort, recipe(labels=tissues, ignore=4)) == ()
        fault = only(check_cohort(cohort, recipe(labels=tissues)), "label_values")
        assert "4 (" in fault.found

    def test_real_pairs_of_ct_and_mr_lie_on_one_grid(self):
        folders = [DATA / "paired_ct_mrt1_sts" / name for name in ("STS_024", "STS_041")]
        cohort = cohort_from_lists(
            [folder / "MR_T1.nii.gz" for folder in folders],
            [folder / "CT.nii.gz" for folder in folders],
            [folder.name for folder in folders],
        )
        assert check_cohort(cohort, VOLUME) == ()
