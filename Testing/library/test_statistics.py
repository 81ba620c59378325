"""Statistics against SimpleITK and numpy as independent oracles, and their tables."""

import csv
import math
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.image import Image
from DeepTranslateLib.statistics import (
    LabelStatistics,
    SliceStatistics,
    StatisticsError,
    measure,
    read_statistics,
    write_statistics,
)

NAMES = {1: "fat", 2: "lean", 7: "absent"}
INTENSITIES = ("mean", "sd", "median", "p05", "p95")


def make(affine=None, dtype=np.int16, shape=(4, 6, 8), seed=0):
    rng = np.random.default_rng(seed)
    voxels = rng.normal(0, 300, shape).astype(dtype)
    labels = rng.integers(0, 4, shape).astype(np.uint8)
    affine = np.diag([-0.8, -0.9, 5.0, 1.0]) if affine is None else affine
    return Image(voxels, affine), Image(labels, affine)


def oracle(values):
    """The five numbers by numpy, in float64."""
    values = values.astype(np.float64)
    return (
        values.mean(),
        values.std(ddof=1) if values.size > 1 else 0.0,
        *np.percentile(values, (50, 5, 95)),
    )


@st.composite
def affines(draw):
    """Rotated, anisotropic, shifted grids of both handednesses."""
    angles = [draw(st.floats(-3.1, 3.1)) for _ in range(3)]
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        cos, sin = math.cos(angle), math.sin(angle)
        a, b = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[[a, a, b, b], [a, b, a, b]] = cos, -sin, sin, cos
        turn = turn @ step
    spacing = [draw(st.floats(0.3, 12)) for _ in range(3)]
    hand = draw(st.sampled_from([1, -1]))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing) @ np.diag([1, 1, hand])
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return affine


@settings(max_examples=40, deadline=None)
@given(affines())
def test_volume_and_moments_agree_with_simpleitk_on_any_grid(affine):
    image, labels = make(affine)
    sitk_labels = sitk.GetImageFromArray(labels.voxels)
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    sitk_labels.SetSpacing(spacing.tolist())
    sitk_labels.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    sitk_labels.SetOrigin(lps[:, 3].tolist())
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk_labels)
    moments = sitk.LabelStatisticsImageFilter()
    sitk_image = sitk.GetImageFromArray(image.voxels)
    sitk_image.CopyInformation(sitk_labels)
    moments.Execute(sitk_image, sitk_labels)
    for row in measure(image, labels, {1: "a", 3: "b"}, volume="x").totals:
        assert row.voxels == shape.GetNumberOfPixels(row.label)
        assert row.volume_ml * 1000 == pytest.approx(shape.GetPhysicalSize(row.label), rel=1e-9)
        assert row.mean == pytest.approx(moments.GetMean(row.label))
        assert row.sd == pytest.approx(moments.GetSigma(row.label))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=60))
def test_integers_give_numpys_percentiles_exactly(values):
    voxels = np.array(values, np.int16).reshape(1, 1, -1)
    image = Image(voxels, np.eye(4))
    row = measure(image, Image(np.ones_like(voxels), np.eye(4)), {1: "all"}, volume="x").totals[0]
    expected = oracle(voxels)
    assert (row.median, row.p05, row.p95) == expected[2:]
    assert (row.mean, row.sd) == pytest.approx(expected[:2])


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64]
)
def test_rows_agree_with_numpy_in_total_and_by_slice(dtype):
    image, labels = make(dtype=dtype)
    statistics = measure(image, labels, {2: "b", 1: "a"}, volume="x")
    assert [row.label for row in statistics.totals] == [2, 1]
    for row in statistics.totals:
        expected = oracle(image.voxels[labels.voxels == row.label])
        assert [getattr(row, name) for name in INTENSITIES] == pytest.approx(expected, rel=1e-6)
    for row in statistics.slices:
        chosen = image.voxels[row.slice][labels.voxels[row.slice] == row.label]
        assert [getattr(row, name) for name in INTENSITIES] == pytest.approx(
            oracle(chosen), rel=1e-6
        )


def test_wide_integers_are_measured_without_a_histogram_of_their_range():
    voxels = np.array([[[-(2**40), 0, 5, 2**40]]], np.int64)
    image = Image(voxels, np.eye(4))
    row = measure(image, Image(np.ones((1, 1, 4)), np.eye(4)), {1: "all"}, volume="x").totals[0]
    assert row.median == 2.5
    assert row.p95 == np.percentile(voxels, 95)


def test_a_large_offset_does_not_cost_the_deviation_its_digits():
    voxels = (np.arange(1000) % 3 + 60000).astype(np.uint16).reshape(1, 10, 100)
    image = Image(voxels, np.eye(4))
    row = measure(image, Image(np.ones_like(voxels), np.eye(4)), {1: "all"}, volume="x").totals[0]
    assert row.sd == pytest.approx(voxels.astype(np.float64).std(ddof=1), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(affines(), st.sampled_from([None, 0, 1, 2]))
def test_slices_sum_to_the_total_along_any_axis(affine, axis):
    image, labels = make(affine)
    statistics = measure(image, labels, NAMES, volume="x", axis=axis)
    for total in statistics.totals:
        rows = [row for row in statistics.slices if row.label == total.label]
        assert sum(row.voxels for row in rows) == total.voxels
        assert sum(row.volume_ml for row in rows) == pytest.approx(total.volume_ml)
        mean = sum(row.voxels * row.mean for row in rows if row.voxels) / max(total.voxels, 1)
        assert total.voxels == 0 or mean == pytest.approx(total.mean)
    if axis is not None:
        # Grids without shear: area times slice distance is the volume.
        distance_cm = np.linalg.norm(affine[:3, axis]) / 10
        for row in statistics.slices:
            assert row.area_cm2 * distance_cm == pytest.approx(row.volume_ml)


def test_slices_are_axial_however_the_volume_is_stored():
    # Sagittal storage: I runs backwards, J upwards, K to the left; superior is J.
    affine = np.array([[0, 0, -3, 40], [-1, 0, 0, 7], [0, 2, 0, -100], [0, 0, 0, 1.0]])
    image, labels = make(affine)
    rows = [r for r in measure(image, labels, {1: "a"}, volume="x").slices if r.label == 1]
    assert [row.slice for row in rows] == list(range(6))
    assert [row.position_mm for row in rows] == [-100 + 2 * j for j in range(6)]
    assert [row.voxels for row in rows] == [int((labels.voxels[:, j] == 1).sum()) for j in range(6)]
    assert rows[0].area_cm2 == pytest.approx(rows[0].voxels * 3 * 1 / 100)


def test_the_same_patient_gives_the_same_axial_rows_in_every_orientation():
    image, labels = make()
    reference = measure(image, labels, NAMES, volume="x")
    for code in ("RAS", "PIR", "SLA"):
        turned = measure(image.oriented(code), labels.oriented(code), NAMES, volume="x")
        assert repr(turned.totals) == repr(reference.totals)

        def by_place(statistics):
            return sorted(
                (round(r.position_mm, 6), r.label, r.voxels, repr(r.median))
                for r in statistics.slices
            )

        assert by_place(turned) == by_place(reference)


def test_position_of_an_oblique_slice_is_its_centre():
    angle = math.radians(20)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    image, labels = make(affine, shape=(3, 5, 5))
    rows = measure(image, labels, {1: "a"}, volume="x").slices
    assert rows[0].position_mm == pytest.approx((affine @ [2, 2, 0, 1])[2])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_an_empty_label_has_no_volume_and_no_intensity(dtype):
    image, labels = make(dtype=dtype)
    row = measure(image, labels, NAMES, volume="x").totals[2]
    assert (row.voxels, row.volume_ml) == (0, 0.0)
    assert all(math.isnan(getattr(row, name)) for name in INTENSITIES)


def test_one_voxel_has_no_spread():
    image, labels = (
        Image(np.full((1, 1, 1), 42, np.int16), np.eye(4)),
        Image(np.ones((1, 1, 1), np.uint8), np.eye(4)),
    )
    row = measure(image, labels, {1: "a"}, volume="x").totals[0]
    assert [getattr(row, name) for name in INTENSITIES] == [42, 0, 42, 42, 42]


def test_nan_inside_a_label_makes_its_intensities_undefined_and_no_others():
    image, labels = make(dtype=np.float32)
    voxels = image.voxels.copy()
    voxels[tuple(np.argwhere(labels.voxels == 1)[0])] = np.nan
    one, two, _ = measure(image.with_voxels(voxels), labels, NAMES, volume="x").totals
    assert math.isnan(one.mean)
    assert math.isnan(one.median)
    assert one.voxels > 0
    assert two.mean == pytest.approx(oracle(image.voxels[labels.voxels == 2])[0])


def test_another_grid_is_refused_with_both_grids_in_the_message():
    image, labels = make()
    moved = labels.affine.copy()
    moved[0, 3] += 3
    with pytest.raises(StatisticsError, match=r"Expected.*CT07.*found.*Resample"):
        measure(image, Image(labels.voxels, moved), NAMES, volume="CT07")
    with pytest.raises(ValueError, match=r"\(4, 6, 8\).*\(3, 6, 8\)"):
        measure(image, Image(labels.voxels[1:], labels.affine), NAMES, volume="CT07")
    with pytest.raises(StatisticsError, match="found 3"):
        measure(image, labels, NAMES, volume="CT07", axis=3)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_memory_stays_far_below_the_volume(dtype):
    voxels = np.zeros((100, 256, 256), dtype)
    labels = np.zeros(voxels.shape, np.uint8)
    labels[:, 64:128, 64:192] = 1
    image, labels = Image(voxels, np.eye(4)), Image(labels, np.eye(4))
    tracemalloc.start()
    measure(image, labels, {1: "a", 2: "b"}, volume="x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Floats need a copy of one label's voxels, here an eighth of the volume.
    allowed = 3e6 if dtype == np.int16 else 3e6 + 2.6 * voxels.nbytes / 8
    assert peak < allowed


def cells(path, delimiter):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream, delimiter=delimiter))


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_tables_have_fixed_columns_and_hold_many_volumes(tmp_path, suffix, delimiter):
    image, labels = make()
    first, second = (measure(image, labels, NAMES, volume=name) for name in ("A", "B"))
    write_statistics(tmp_path / f"t{suffix}", first.totals + second.totals)
    table = cells(tmp_path / f"t{suffix}", delimiter)
    assert ",".join(table[0]) == "volume,label,name,voxels,volume_ml,mean,sd,median,p05,p95"
    assert [row[0] for row in table[1:]] == ["A"] * 3 + ["B"] * 3
    assert table[3] == ["A", "7", "absent", "0", "0.000", "", "", "", "", ""]
    assert table[1][4] == f"{first.totals[0].volume_ml:.3f}"
    assert table[1][5] == f"{first.totals[0].mean:.2f}"
    write_statistics(tmp_path / f"s{suffix}", first.slices)
    assert ",".join(cells(tmp_path / f"s{suffix}", delimiter)[0]) == (
        "volume,slice,position_mm,label,name,voxels,volume_ml,mean,sd,median,p05,p95,area_cm2"
    )


TEXT = st.text(
    st.one_of(
        st.sampled_from("=+-@'\",;\t\r\n"),
        st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(volume=TEXT, name=TEXT, suffix=st.sampled_from([".csv", ".tsv"]))
def test_any_name_survives_the_round_trip_and_none_starts_a_formula(
    tmp_path_factory, volume, name, suffix
):
    path = tmp_path_factory.getbasetemp() / f"names{suffix}"
    row = LabelStatistics(volume, 1, name, 3, 0.125, -101.25, 3.5, -100.0, -110.5, -90.0)
    write_statistics(path, [row])
    assert read_statistics(path) == [row]
    written = cells(path, "," if suffix == ".csv" else "\t")[1]
    assert not written[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert not written[2].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_slices_and_empty_cells_survive_the_round_trip_to_the_written_precision(tmp_path):
    image, labels = make()
    rows = measure(image, labels, NAMES, volume="x").slices
    write_statistics(tmp_path / "s.tsv", rows)
    back = read_statistics(tmp_path / "s.tsv")
    assert len(back) == len(rows)
    for before, after in zip(rows, back, strict=True):
        assert isinstance(after, SliceStatistics)
        assert (after.slice, after.voxels, after.label) == (
            before.slice,
            before.voxels,
            before.label,
        )
        assert after.mean == pytest.approx(before.mean, abs=0.005001, nan_ok=True)
        assert after.volume_ml == pytest.approx(before.volume_ml, abs=0.0005001)


def test_a_tiny_negative_number_is_not_written_as_minus_zero(tmp_path):
    row = LabelStatistics("x", 1, "a", 3, 0.1, -0.001, 0.0, 0.0, 0.0, 0.0)
    write_statistics(tmp_path / "t.csv", [row])
    assert cells(tmp_path / "t.csv", ",")[1][5] == "0.00"


def test_a_failed_write_leaves_the_old_table_and_no_litter(tmp_path):
    row = LabelStatistics("x", 1, "a", 3, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0)
    write_statistics(tmp_path / "t.csv", [row])
    before = (tmp_path / "t.csv").read_bytes()
    broken = LabelStatistics("x", 1, "a", 3, None, 1.0, 1.0, 1.0, 1.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        write_statistics(tmp_path / "t.csv", [row, broken])
    assert (tmp_path / "t.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_tables_that_are_not_ours_are_refused_by_name(tmp_path):
    row = LabelStatistics("x", 1, "a", 3, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0)
    other = SliceStatistics("x", 0, 0.0, 1, "a", 3, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(StatisticsError, match=r"xlsx"):
        write_statistics(tmp_path / "t.xlsx", [row])
    with pytest.raises(StatisticsError, match="none"):
        write_statistics(tmp_path / "t.csv", [])
    with pytest.raises(StatisticsError, match=r"LabelStatistics.*SliceStatistics"):
        write_statistics(tmp_path / "t.csv", [row, other])  # type: ignore[list-item]
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StatisticsError, match=r"found \['a', 'b'\]"):
        read_statistics(tmp_path / "t.csv")
    write_statistics(tmp_path / "t.csv", [row])
    text = (tmp_path / "t.csv").read_text().replace("x,1,", "x,one,")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(StatisticsError, match="Line 2"):
        read_statistics(tmp_path / "t.csv")
