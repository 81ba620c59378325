"""Pictures of what a model did: labels over images to scale, and the curves of its training.

Nothing here knows where files lie: images and numbers come in, figures go out. Matplotlib is
part of the optional extra `report`, and is imported when it is needed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cli.failures import CommandError
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CT_WINDOW = (-160.0, 240.0)
_INK, _PALE, _PAPER, _NIGHT = "#1c2733", "#64717d", "#ffffff", "#0b0e12"
_MARGIN_MM = 8.0
_BARS_MM = (1, 2, 5, 10, 20, 50, 100)
_WIDTH_INCHES, _HEAD_INCHES, _FOOT_INCHES = 9.0, 0.3, 0.32
_DPI = 160


@dataclass(frozen=True)
class Subject:
    """A subject of the overlay picture.

    Args:
        name: Written above its pictures.
        image: What was translated.
        labels: What the model made of it, on the same grid.
        truth: The reference on the same grid, or None.
        slices: Axial slices to show, counted from the feet; None spreads three over the labels.
    """

    name: str
    image: Image
    labels: Image
    truth: Image | None = None
    slices: tuple[int, ...] | None = None


def curve_figure(
    history: Sequence[Mapping[str, Any]], colors: Mapping[str, tuple[int, int, int]] | None = None
) -> Figure:
    """Loss and, for labels, Dice of the validation over the epochs.

    Args:
        history: Records with `epoch` (from 0), `loss`, `validation_loss`, `validation_dice` by
            label name (None where unknown) and `best_epoch`; at least one.
        colors: RGB (0 to 255) of each label by name.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    epochs = [record["epoch"] + 1 for record in history]
    names = list(history[-1]["validation_dice"])
    figure = _figure(_WIDTH_INCHES, 2.6, _PAPER)
    panels = figure.subplots(1, 2 if names else 1, squeeze=False)[0]
    figure.subplots_adjust(left=0.065, right=0.985, bottom=0.17, top=0.96, wspace=0.16)
    panels[0].plot(epochs, [r["loss"] for r in history], color="#9aa5b1", label="training")
    panels[0].plot(epochs, [r["validation_loss"] for r in history], color=_INK, label="validation")
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    for name in names:
        values = [r["validation_dice"].get(name) for r in history]
        known = [np.nan if value is None else value for value in values]
        color = None if colors is None else [0.82 * part / 255 for part in colors[name]]
        panels[1].plot(epochs, known, color=color, label=name)
    if names:
        panels[1].set_ylim(0, 1.02)
    best = history[-1]["best_epoch"] + 1
    for panel, what in zip(panels, ("loss", "Dice on the validation slices"), strict=False):
        for line in panel.lines:
            line.set_linewidth(1.4)
        panel.axvline(best, color=_PALE, linewidth=0.8, linestyle=(0, (4, 3)))
        panel.set_xlabel("epoch", color=_PALE)
        panel.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.tick_params(which="both", colors=_PALE, length=3)
        panel.grid(color="#e6e9ec", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color("#b7bfc7")
        legend = _legend(panel, title=what, labelcolor=_INK, fontsize=8, alignment="left")
        legend.get_title().set(color=_INK, fontsize=8, fontweight="bold")
    return figure


def overlay_figure(
    subjects: Sequence[Subject],
    labels: Sequence[Label],
    *,
    window: tuple[float, float] = CT_WINDOW,
    opacity: float = 0.4,
) -> Figure:
    """Axial slices of subjects side by side: the image, and the labels on it.

    The outline of the truth, where there is one, is drawn in white. Slices are cut to what is
    labelled, and the patient's right is on the left, as radiologists look at slices.

    Args:
        subjects: At least one; the pictures of one are to one scale, which a bar shows.
        labels: Value, name and colour of what is drawn.
        window: Intensities shown as black and as white.
        opacity: Of the labels, 0 to 1.

    Raises:
        CommandError: Labels or truth are not on the grid of their image.
    """
    from matplotlib.patches import Patch

    views = [_View(subject) for subject in subjects]
    rows = max(len(view.slices) for view in views)
    widths: list[float] = []
    for view in views:
        # A narrow column between two subjects.
        widths += [*([0.06] if widths else []), view.aspect, view.aspect]
    row_inches = _WIDTH_INCHES / sum(widths)
    height = rows * row_inches + _HEAD_INCHES + _FOOT_INCHES
    figure = _figure(_WIDTH_INCHES, height, _NIGHT)
    grid = figure.add_gridspec(
        rows,
        len(widths),
        width_ratios=widths,
        left=0.005,
        right=0.995,
        bottom=_FOOT_INCHES / height,
        top=1 - _HEAD_INCHES / height,
        wspace=0.01,
        hspace=0.015,
    )
    for number, view in enumerate(views):
        # From the head down, as a stack of slices is read.
        for row, index in enumerate(reversed(view.slices)):
            plain, marked = (figure.add_subplot(grid[row, 3 * number + i]) for i in (0, 1))
            for panel in (plain, marked):
                view.draw_image(panel, index, window)
            view.draw_labels(marked, index, labels, opacity)
            if row == 0:
                view.draw_scale(plain)
                box = plain.get_position()
                figure.text(
                    box.x1, 1 - 0.5 * _HEAD_INCHES / height, view.name, color="white",
                    fontsize=11, ha="center", va="center", parse_math=False,
                )  # fmt: skip
    patches = [
        Patch(facecolor=[part / 255 for part in label.color], alpha=0.75, label=label.name)
        for label in labels
    ]
    if any(view.truth is not None for view in views):
        patches.append(Patch(facecolor="none", edgecolor="white", label="outline of the truth"))
    _legend(
        figure, handles=patches, loc="lower center", ncols=len(patches), labelcolor="white",
        fontsize=9, handlelength=1.2, handleheight=0.9, borderaxespad=0.2,
    )  # fmt: skip
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG, the same bytes whenever it shows the same."""
    stream = io.BytesIO()
    figure.savefig(
        stream,
        format="png",
        dpi=_DPI,
        facecolor=figure.get_facecolor(),
        metadata={"Software": None},
    )
    return stream.getvalue()


class _View:
    """The slices of a subject that are shown, upright and cut to what is labelled."""

    def __init__(self, subject: Subject) -> None:
        self.name = subject.name
        for other in (subject.labels, subject.truth):
            if other is not None and not subject.image.same_grid(other):
                raise CommandError(
                    f"The labels of {subject.name} lie on another grid than its image, so they "
                    "cannot be drawn on it. Resample them onto the image first."
                )
        image, labels = subject.image.oriented("LPS"), subject.labels.oriented("LPS")
        self.truth = None if subject.truth is None else subject.truth.oriented("LPS").voxels
        marked = labels.voxels > 0 if self.truth is None else (labels.voxels > 0) | (self.truth > 0)
        self.slices = subject.slices or _spread(
            np.flatnonzero(marked.any(axis=(1, 2))), len(marked)
        )
        self._spacing = image.spacing[:2]
        footprint = marked[list(self.slices)].max(axis=0)
        self._columns, self._rows = (
            _span(footprint.max(axis=axis), _MARGIN_MM / self._spacing[axis]) for axis in (0, 1)
        )
        self._image, self._labels = image.voxels, labels.voxels
        self._width = (self._columns.stop - self._columns.start) * self._spacing[0]
        self._height = (self._rows.stop - self._rows.start) * self._spacing[1]

    @property
    def aspect(self) -> float:
        """Width by height, in mm."""
        return float(self._width / self._height)

    def draw_image(self, panel: Axes, index: int, window: tuple[float, float]) -> None:
        """Draw a slice in grey; the panel then counts in mm from its upper left corner."""
        self._show(
            panel, self._image[index], "bilinear", cmap="gray", vmin=window[0], vmax=window[1]
        )
        panel.set_axis_off()

    def draw_labels(self, panel: Axes, index: int, labels: Sequence[Label], opacity: float) -> None:
        """Draw the labels of a slice, and the outlines of the true ones."""
        found = self._labels[index]
        colors = np.zeros((*found.shape, 4))
        for label in labels:
            colors[found == label.value] = [*(part / 255 for part in label.color), opacity]
        self._show(panel, colors, "nearest")
        if self.truth is None:
            return
        truth = self.truth[index][self._rows, self._columns]
        x = (np.arange(truth.shape[1]) + 0.5) * self._spacing[0]
        y = (np.arange(truth.shape[0]) + 0.5) * self._spacing[1]
        for label in labels:
            mask = truth == label.value
            if mask.any() and not mask.all():
                panel.contour(x, y, mask, levels=[0.5], colors="white", linewidths=0.35)

    def draw_scale(self, panel: Axes) -> None:
        """Draw a bar of a round length: 10 cm across a body, less across less."""
        length = max((n for n in _BARS_MM if n <= 0.4 * self._width), default=0)
        text = f"{length // 10} cm" if length >= 10 else f"{length} mm"
        if length:
            x, y = 0.03 * self._width, 0.96 * self._height
            bar = ([x, x + length], [y, y])
            style = {"color": "white", "linewidth": 1.5, "solid_capstyle": "butt"}
            panel.plot(*bar, scalex=False, scaley=False, **style)
            panel.text(x, y - 0.03 * self._height, text, color="white", fontsize=6.5)

    def _show(
        self, panel: Axes, pixels: npt.NDArray[Any], interpolation: str, **style: Any
    ) -> None:
        panel.imshow(
            pixels[self._rows, self._columns],
            extent=(0, self._width, self._height, 0),
            interpolation=interpolation,
            **style,
        )


def _spread(labelled: npt.NDArray[np.intp], count: int) -> tuple[int, ...]:
    """Three slices spread over the labelled ones, or over all where none is."""
    among = labelled if labelled.size else np.arange(count)
    places = np.rint(np.array([0.15, 0.5, 0.85]) * (len(among) - 1)).astype(int)
    return tuple(int(index) for index in dict.fromkeys(among[places].tolist()))


def _span(present: npt.NDArray[np.bool_], margin: float) -> slice:
    """From the first to the last place, with a margin; everything where there is none."""
    places = np.flatnonzero(present)
    if not places.size:
        return slice(0, present.size)
    room = round(margin)
    return slice(max(0, int(places[0]) - room), min(present.size, int(places[-1]) + room + 1))


def _figure(width: float, height: float, background: str) -> Figure:
    # Without pyplot: no window, no global state, whatever backend is set.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor=background)


def _legend(owner: Axes | Figure, **style: Any) -> Any:
    legend = owner.legend(frameon=False, **style)
    for text in legend.get_texts():
        # Names are not formulas, whatever signs they hold.
        text.set_parse_math(False)
    return legend
