"""The report: pictures to scale, numbers as given, nothing that a name could break."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import struct
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from DeepTranslateLib.cli.failures import CommandError
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Label

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from DeepTranslateLib.cli import pictures, report

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
AWKWARD = "<b>Ann & \"Bob\" 'x' {{ 7 * 7 }} $a_"
LABELS = (Label(1, "fat", (255, 0, 0)), Label(2, AWKWARD, (0, 0, 255)))


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(PNG_SIGNATURE)
    return struct.unpack(">II", png[16:24])


def epoch(number: int, loss: float, best: int = 0, dice: float | None = 0.5) -> dict:
    return {
        "event": "epoch", "epoch": number, "loss": loss, "validation_loss": 2 * loss,
        "validation_dice": {"fat": dice, AWKWARD: None}, "best_epoch": best,
    }  # fmt: skip


def block(spacing: tuple[float, float, float], code: str = "LPS") -> tuple[Image, Image]:
    """A block of 20 columns and 10 rows, labelled but for its rim, as image and labels."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    image = Image(np.arange(6 * 30 * 40).reshape(6, 30, 40).astype(np.int16), affine)
    values = np.zeros(image.shape, np.uint8)
    values[1:5, 10:20, 10:30] = 2
    values[1:5, 12:18, 12:28] = 1
    return image.oriented(code), image.with_voxels(values).oriented(code)


def subject(spacing: tuple[float, float, float], code: str = "LPS", **others) -> pictures.Subject:
    image, labels = block(spacing, code)
    return pictures.Subject(AWKWARD, image, labels, **others)


def panel_shapes(figure) -> list[float]:
    """Height by width of each picture, in pixels."""
    figure.canvas.draw()
    boxes = [panel.get_window_extent() for panel in figure.axes]
    return [box.height / box.width for box in boxes]


@pytest.fixture(scope="module")
def example() -> report.Report:
    whole = subject((1.0, 1.0, 5.0))
    return report.Report(
        title=AWKWARD,
        summary=f"About {AWKWARD}.",
        comparisons=[
            report.Comparison("lean", "fat", 1234.56, 1300.0, 0.98765),
            report.Comparison("lean", AWKWARD, 10.0, 0.0, 0.0),
            report.Comparison(AWKWARD, "fat", 0.04, 0.0, None),
            report.Comparison(AWKWARD, "bone", 210.0, 200.0, 0.5),
        ],
        overlay=pictures.png(pictures.overlay_figure([whole], LABELS)),
        overlay_caption=AWKWARD,
        curve=pictures.png(pictures.curve_figure([epoch(0, 0.5), epoch(1, 0.25)])),
        curve_caption="curve",
        facts={AWKWARD: AWKWARD},
        steps=[(AWKWARD, "deeptranslate translate --model 'a & b' <scan>")],
    )


@pytest.fixture(scope="module")
def page(example, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write_report(path, example)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(page) -> ElementTree.Element:
    return ElementTree.fromstring(page)


def test_names_are_shown_as_they_are_and_never_run(page, tree):
    assert tree.findtext(".//h1") == tree.findtext("head/title") == AWKWARD
    assert tree.findtext(".//dt") == tree.findtext(".//dd") == AWKWARD
    assert tree.findtext(".//pre") == "deeptranslate translate --model 'a & b' <scan>"
    assert "<b>" not in page


def test_page_needs_no_network_and_holds_no_script(page, tree):
    assert {element.tag for element in tree.iter()}.isdisjoint({"script", "link", "iframe", "b"})
    assert "http:" not in page
    assert "https:" not in page
    assert all(image.get("src").startswith("data:") for image in tree.iter("img"))


def test_pictures_in_the_page_are_the_ones_given(tree, example):
    found = [image.get("src").partition("base64,")[2] for image in tree.iter("img")]
    assert [base64.b64decode(text, validate=True) for text in found] == [
        example.overlay,
        example.curve,
    ]
    assert all(min(size_of(picture)) > 100 for picture in (example.overlay, example.curve))


def test_table_holds_the_numbers_given(tree):
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.findall(".//tbody/tr")]
    assert rows == [
        ["lean", "fat", "1234.6", "1300.0", "−5.0", "0.988"],
        [AWKWARD, "10.0", "0.0", "–", "0.000"],
        [AWKWARD, "fat", "0.0", "0.0", "–", "–"],
        ["bone", "210.0", "200.0", "+5.0", "0.500"],
    ]
    numbers = [cell for row in tree.findall(".//tbody/tr") for cell in row.findall("td")[1:]]
    assert {cell.get("class") for cell in numbers} == {"number"}


def test_volume_error_is_signed_and_relative_to_the_truth():
    row = report.Comparison("s", "fat", 90.0, 100.0, 1.0)
    assert row.volume_error_percent == pytest.approx(-10)
    assert dataclasses.replace(row, true_volume_ml=0.0).volume_error_percent is None


def test_history_takes_the_last_of_repeated_epochs():
    events = [
        {"event": "training_started", "epoch": 0},
        epoch(0, 0.5), epoch(1, 0.4), {"event": "step", "epoch": 2}, epoch(2, 0.3),
        {"event": "training_started", "epoch": 1},
        epoch(1, 0.45),
    ]  # fmt: skip
    assert [(e["epoch"], e["loss"]) for e in report.training_history(events)] == [
        (0, 0.5),
        (1, 0.45),
    ]
    assert [e["loss"] for e in report.training_history([epoch(0, 0.5), epoch(0, 0.6)])] == [0.6]


def test_curve_draws_the_history():
    history = report.training_history([epoch(0, 0.5), epoch(1, 0.4), epoch(1, 0.3, best=1)])
    figure = pictures.curve_figure(history, {"fat": (255, 0, 0), AWKWARD: (0, 0, 255)})
    loss, dice = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert drawn["training"] == [[1, 0.5], [2, 0.3]]
    assert drawn["validation"] == [[1, 1.0], [2, 0.6]]
    assert dice.lines[0].get_ydata().tolist() == [0.5, 0.5]
    assert loss.lines[-1].get_xdata() == [2, 2]


def test_curve_of_volumes_has_no_dice():
    figure = pictures.curve_figure([{**epoch(0, 0.5), "validation_dice": {}}])
    assert len(figure.axes) == 1
    assert pictures.png(figure).startswith(PNG_SIGNATURE)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (1.0, 2.0, 5.0), (2.5, 0.5, 1.0)])
def test_pictures_are_to_scale(spacing):
    figure = pictures.overlay_figure([subject(spacing)], LABELS)
    margins = [2 * round(8 / side) for side in spacing[:2]]
    # The block's 20 columns and 10 rows with their margins, as far as the image reaches.
    columns, rows = min(40, 20 + margins[0]), min(30, 10 + margins[1])
    expected = rows * spacing[1] / (columns * spacing[0])
    assert panel_shapes(figure) == pytest.approx([expected] * 6, rel=0.02)


def test_scale_bar_has_the_length_it_says():
    figure = pictures.overlay_figure([subject((1.0, 1.0, 5.0))], LABELS)
    (bar,) = (line for panel in figure.axes for line in panel.lines)
    (text,) = (text.get_text() for panel in figure.axes for text in panel.texts)
    # The picture is 36 mm wide.
    assert np.ptp(bar.get_xdata()) == pytest.approx(10)
    assert text == "1 cm"


def test_stored_orientation_does_not_change_the_picture():
    drawn = [
        pictures.png(pictures.overlay_figure([subject((1.0, 2.0, 5.0), code)], LABELS))
        for code in ("LPS", "RAS", "SRA")
    ]
    assert drawn[0] == drawn[1] == drawn[2]


def test_each_subject_has_its_slices_beside_the_others():
    one, other = subject((1.0, 1.0, 5.0), slices=(2,)), subject((1.0, 1.0, 5.0))
    assert len(pictures.overlay_figure([one, other], LABELS).axes) == 2 * (1 + 3)


def test_outline_of_the_truth_is_drawn_only_where_there_is_one():
    _, truth = block((1.0, 1.0, 5.0))
    without, beside = (
        pictures.overlay_figure([subject((1.0, 1.0, 5.0), truth=known)], LABELS)
        for known in (None, truth)
    )
    assert [len(panel.collections) for panel in without.axes] == [0] * 6
    assert [len(panel.collections) for panel in beside.axes] == [0, 2] * 3


def test_nothing_labelled_shows_whole_slices():
    image, labels = block((1.0, 1.0, 5.0))
    empty = labels.with_voxels(np.zeros_like(labels.voxels))
    figure = pictures.overlay_figure([pictures.Subject("none", image, empty)], LABELS)
    assert panel_shapes(figure) == pytest.approx([30 / 40] * 6, rel=0.02)


def test_labels_of_another_grid_are_refused():
    image, _ = block((1.0, 1.0, 5.0))
    _, labels = block((1.0, 2.0, 5.0))
    with pytest.raises(CommandError, match="another grid"):
        pictures.overlay_figure([pictures.Subject("s", image, labels)], LABELS)


def test_missing_packages_are_named_with_their_installation(monkeypatch):
    report.require_packages()
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jinja2" else object()
    )
    with pytest.raises(CommandError, match=r'jinja2.*pip install "DeepTranslateLib\[report\]"'):
        report.require_packages()
