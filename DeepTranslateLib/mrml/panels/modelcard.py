"""ModelCard: what a model makes, what it was trained on and how well it did, at a glance."""

from __future__ import annotations

import html
import json
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.model import Model, ModelError
from DeepTranslateLib.mrml.panels.directionchooser import sideTexts
from DeepTranslateLib.mrml.panels.wrappedlabel import fitWrappedText, setWrappedText
from DeepTranslateLib.recipe import Label, Recipe
from DeepTranslateLib.schema import to_json

_PREVIEW_SIZE = 96
_MOST_LABELS = 12  # and numbers in a list


def swatch(color: tuple[int, int, int]) -> str:
    """A square of a colour, as rich text."""
    return '<span style="color:rgb({},{},{})">&#9632;</span>'.format(*color)


def cardText(model: Model) -> str:
    """The card as a few lines of rich text; what the card does not know is left out."""
    recipe, card = model.recipe, model.card
    if recipe.target.kind == "labels":
        makes = _("Makes: {labels}").format(labels=_labelsText(recipe.target.labels))
    else:
        units = f" ({html.escape(recipe.target.units)})" if recipe.target.units else ""
        makes = _("Makes: a volume{units}").format(units=units)
    inputs = ", ".join(_inputText(each) for each in recipe.inputs)
    lines = [f"<b>{html.escape(card.name)}</b>"]
    if len(model.directions) > 1:
        lines.append(_waysText(recipe))
    else:
        lines += [makes, _("From: {inputs}").format(inputs=html.escape(inputs))]
    trained = _trainedText(card.cohort)
    if trained:
        lines.append(_("Trained on: {trained}").format(trained=trained))
    for found in (_diceText(card.metrics), _errorText(model)):
        if found:
            lines.append(found)
    made = _("Made on {date}, seed {seed}, epoch {epoch}")
    lines.append(made.format(date=card.created[:10], seed=card.seed, epoch=card.epoch))
    return "<br>".join(lines)


class ModelCard:
    """Preview picture, a few lines and the button "Details"; hidden while there is no model.

    Args:
        parentLayout: Layout that the widget is added to.
    """

    def __init__(self, parentLayout: Any) -> None:
        self._model: Model | None = None
        self._dialog: Any = None
        self.widget = qt.QFrame()
        self.widget.setFrameShape(qt.QFrame.StyledPanel)
        row = qt.QHBoxLayout(self.widget)
        self.preview = qt.QLabel()
        self.preview.setAlignment(qt.Qt.AlignTop)
        row.addWidget(self.preview)
        column = qt.QVBoxLayout()
        row.addLayout(column, 1)
        self.label = qt.QLabel()
        self.label.objectName = "modelCardLabel"
        self.label.wordWrap = True
        self.label.setTextFormat(qt.Qt.RichText)
        column.addWidget(self.label)
        self.detailsButton = qt.QPushButton(_("Details..."))
        self.detailsButton.objectName = "modelDetailsButton"
        self.detailsButton.toolTip = _("Show everything that is known about this model")
        self.detailsButton.connect("clicked()", self.showDetails)
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.detailsButton)
        buttons.addStretch(1)
        column.addLayout(buttons)
        self.widget.visible = False
        parentLayout.addWidget(self.widget)

    def setModel(self, model: Model | None) -> None:
        """Show a model, or nothing."""
        self._model = model
        self.widget.visible = model is not None
        if model is None:
            return
        picture = _picture(model)
        self.preview.visible = picture is not None
        if picture is not None:
            self.preview.setPixmap(picture)
        setWrappedText(self.label, cardText(model))

    def fit(self) -> None:
        """Be as high as the text needs, once the width is known."""
        fitWrappedText(self.label)

    def showDetails(self) -> None:
        """Show the whole card and recipe in a window that does not block."""
        if self._model is None:
            return
        self._dialog = dialog = qt.QDialog(self.widget)
        dialog.objectName = "modelDetailsDialog"
        dialog.windowTitle = self._model.card.name
        column = qt.QVBoxLayout(dialog)
        browser = qt.QTextBrowser()
        browser.setHtml(detailsHtml(self._model))
        column.addWidget(browser)
        close = qt.QPushButton(_("Close"))
        close.connect("clicked()", dialog.close)
        column.addWidget(close)
        dialog.resize(560, 640)
        dialog.show()


def detailsHtml(model: Model) -> str:
    """The whole card and the recipe as a page of nested tables."""
    card = {"file": str(model.path), **to_json(model.card)}
    parts = [
        f"<h3>{html.escape(model.card.name)}</h3>",
        f"<p>{html.escape(model.recipe.description)}</p>",
        f"<p><small>{html.escape(model.recipe.reference)}</small></p>",
        f"<h4>{html.escape(_('Card'))}</h4>",
        _table(card),
        f"<h4>{html.escape(_('Recipe'))}</h4>",
        _table(to_json(model.recipe)),
    ]
    return "".join(parts)


def _table(content: dict[str, Any]) -> str:
    rows = []
    for name, value in content.items():
        if value in (None, "", [], {}):
            continue
        if isinstance(value, dict):
            cell = _table(value)
        elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
            cell = "".join(_table(item) for item in value)
        else:
            cell = html.escape(_valueText(value))
        label = html.escape(str(name).replace("_", " "))
        rows.append(f"<tr><td valign='top'><i>{label}</i>&nbsp;</td><td>{cell}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _valueText(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        if len(value) > _MOST_LABELS:
            return _("{count} values").format(count=len(value))
        return ", ".join(map(_valueText, value))
    return value if isinstance(value, str) else json.dumps(value)


def _labelsText(labels: tuple[Label, ...]) -> str:
    shown = [f"{swatch(each.color)}&nbsp;{html.escape(each.name)}" for each in labels]
    if len(shown) > _MOST_LABELS:
        more = len(shown) - _MOST_LABELS
        shown = [*shown[:_MOST_LABELS], _("and {count} more").format(count=more)]
    return ", ".join(shown)


def _inputText(each: Any) -> str:
    modality = each.modality if each.modality != "other" else each.name
    return f"{modality} ({each.units})" if each.units else modality


def _waysText(recipe: Recipe) -> str:
    source, target = (
        f"{name} ({html.escape(units)})" if units else name
        for name, units in zip(
            sideTexts(recipe), (recipe.inputs[0].units, recipe.target.units), strict=True
        )
    )
    return _("Translates: {source} to {target}, and back").format(source=source, target=target)


def _trainedText(cohort: dict[str, Any]) -> str:
    training = cohort.get("training") or {}
    parts = []
    if training.get("slices"):
        parts.append(_slicesText(training))
    if cohort.get("training_subjects"):
        parts.append(_("of {count} subjects").format(count=cohort["training_subjects"]))
    text = " ".join(parts)
    low, high = training.get("spacing_min"), training.get("spacing_max")
    if text and low and high:
        sizes = [*low[:2], *high[:2]]  # columns and rows
        least, most = min(sizes), max(sizes)
        pixel = f"{least:.2g}" if f"{least:.2g}" == f"{most:.2g}" else f"{least:.2g} - {most:.2g}"
        text += _(", pixels of {size} mm").format(size=pixel)
    return text


def _slicesText(training: dict[str, Any]) -> str:
    other = training.get("target")
    if isinstance(other, dict) and other.get("slices"):
        text = _("{count} and {other} slices, unpaired,")
        return text.format(count=training["slices"], other=other["slices"])
    return _("{count} slices").format(count=training["slices"])


def _diceText(metrics: dict[str, Any]) -> str:
    dice = (metrics.get("validation") or {}).get("dice") or {}
    known = {name: value for name, value in dice.items() if value is not None}
    if not known:
        return ""
    mean = sum(known.values()) / len(known)
    each = ", ".join(f"{html.escape(name)} {value:.2f}" for name, value in known.items())
    return _("Validation Dice {mean:.2f} ({each})").format(mean=mean, each=each)


def _errorText(model: Model) -> str:
    error = (model.card.metrics.get("validation") or {}).get("mean_absolute_error")
    if error is None:
        return ""
    units = html.escape(model.recipe.target.units)
    return _("Validation: mean absolute error {error:.3g} {units}").format(error=error, units=units)


def _picture(model: Model) -> Any:
    try:
        content = model.preview()
    except ModelError:
        return None
    if content is None:
        return None
    picture = qt.QPixmap()
    if not picture.loadFromData(content):
        return None
    return picture.scaled(
        _PREVIEW_SIZE, _PREVIEW_SIZE, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation
    )
