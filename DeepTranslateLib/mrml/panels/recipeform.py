"""RecipeForm: the fields of a recipe as a form, made from its dataclasses."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.mrml.panels.fieldeditors import ChoiceEditor, FieldEditor, FileEditor
from DeepTranslateLib.mrml.panels.labelseditor import LabelsEditor
from DeepTranslateLib.mrml.panels.recipefields import editorFor, tipOf, titleOf
from DeepTranslateLib.mrml.panels.relevantfields import (
    Content,
    Place,
    hasMeaning,
    possibleChoices,
)
from DeepTranslateLib.recipe import Input, Recipe, Target
from DeepTranslateLib.schema import to_json

# Parts of a recipe that a person thinks of together; a part named nowhere gets its own group.
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Images", ("inputs", "sampling", "preprocessing")),
    ("Network", ("network",)),
    ("Learning", ("method", "optimizer", "training")),
    ("Adversarial", ("adversarial",)),
    ("Structure", ("structure",)),
    ("Contrast", ("contrast",)),
    ("Augmentation", ("augmentation",)),
)
# Ends of names: how often something happens, and what tells the file that another field names.
_PROBABILITY, _CHECKSUM = "_probability", "_sha256"
# Shown by others: the format's version, and what the label editor and the chooser show.
_LEFT_OUT = {("version",), ("target", "labels"), ("target", "kind"), ("reference",), ("inputs",)}
# By the field's name, or by its part and name where several parts have one of that name.
_TITLES = {
    "0.units": "Units of the input",
    "target.units": "Units of the target",
    "target.standardisation": "Target's standard scale",
    "target.landmarks": "Target's landmarks",
    "standardisation": "Standard scale",
    "bias_correction": "Correct bias of MR coils",
    "fusion": "Three planes as one",
    "mirror": "Mean of mirrored copies",
    "patch": "Patch (slices, rows, columns)",
    "foreground_share": "Patches on labels, share",
    "overlap": "Overlap of patches",
    "slice_spacing": "Distance of slices",
    "coarse_targets": "Coarse outputs learn",
    "frozen_epochs": "Frozen for (epochs)",
    "configure": "What is left at its default",
    "network.name": "Architecture",
    "method.name": "Method",
    "optimizer.name": "Optimizer",
    "context": "Slices seen on each side",
    "dimension": "Dimensions",
    "warmup_epochs": "Warm-up epochs",
    "ema": "Average of weights",
    "window": "Intensity window",
    "spacing": "Pixel size",
    "spacing_tolerance": "Pixel size tolerance",
    "norm": "Normalisation",
    "monitor": "Best epoch by",
    "patience": "Stop without gain after (epochs)",
    "ignore": "Value to ignore",
    "range": "Range of values",
    "noise_sd": "Noise SD",
    "foreground_weight": "Weight of labelled slices",
    "keep_every": "Keep every Nth epoch",
    "preview_every": "Preview every Nth epoch",
    "auto_context": "Further stages (auto-context)",
    "adversarial.weight": "Adversarial weight",
    "objective": "Objective",
    "gradient_penalty": "Gradient penalty, weight",
    "discriminator_channels": "Discriminator channels",
    "discriminator_layers": "Discriminator layers",
    "discriminator_norm": "Discriminator normalisation",
    "spectral_norm": "Spectral normalisation",
    "discriminator_rate": "Discriminator learning rate",
    "discriminator_warmup_epochs": "Discriminator warm-up epochs",
    "generator_steps": "Generator steps for each of D",
    "discriminator_steps": "Discriminator steps for each of G",
    "label_jitter": "Label jitter",
    "pool": "Image pool",
    "mispair_weight": "Mis-pairs, weight",
    "identity_weight": "Identity loss, weight",
    "kl_weight": "KL divergence, weight",
    "perceptual_weight": "Perceptual loss, weight",
    "latent_weight": "Auto-encoder loss, weight",
    "air_weight": "Air loss, weight",
    "air_threshold": "Air threshold",
    "gradient_weight": "Gradient consistency, weight",
    "shape_weight": "Shape consistency, weight",
    "features": "Perceptual network (file)",
    "features_sha256": "Its SHA-256",
    "features_level": "Perceptual level",
    "segmentor": "Segmentor (file)",
    "segmentor_sha256": "Its SHA-256",
    "target_segmentor": "Segmentor of the target (file)",
    "target_segmentor_sha256": "Its SHA-256",
    "contrast.weight": "Contrastive loss, weight",
    "patches": "Patches compared",
    "temperature": "Temperature",
    "contrast.layers": "Layers compared",
}


class RecipeForm:
    """Groups of fields for a recipe's content.

    Args:
        parentLayout: Layout that the groups are added to.
        onEdited: Called with (place, value) when the user changes a field; `place` are the keys
            and indices that lead to it in the recipe's JSON.
        segments: Returns the segments of the images at hand, for "Take from segmentations".
    """

    def __init__(
        self,
        parentLayout: Any,
        onEdited: Callable[[Place, Any], None],
        segments: Callable[[], list[Any]],
    ) -> None:
        self._onEdited = onEdited
        self.editors: dict[Place, FieldEditor] = {}
        self._rows: dict[Place, tuple[Any, Any]] = {}
        self._hidden: set[Place] = set()
        self._defaults: dict[Place, Any] = {}
        self._places: dict[str, list[Place]] = {}
        self.groups: dict[str, Any] = {}
        self.layouts: dict[str, Any] = {}
        self.widget = qt.QWidget()
        self._column = qt.QVBoxLayout(self.widget)
        self._column.setContentsMargins(0, 0, 0, 0)
        parentLayout.addWidget(self.widget)
        self._makeLabels(segments)
        grouped: set[str] = set()
        for title, parts in _GROUPS:
            self._makeGroup(title, parts)
            grouped.update(parts)
        hints = typing.get_type_hints(Recipe)
        for field in dataclasses.fields(Recipe):
            own = dataclasses.is_dataclass(hints[field.name]) and field.name != "target"
            if own and field.name not in grouped:
                self._makeGroup(titleOf(field.name), (field.name,))
        about = self._newGroup(_("Name"))
        self._addFields(about, Recipe, ())

    def setContent(self, content: dict[str, Any]) -> None:
        """Show a recipe's JSON, with every field there."""
        self.labels.setLabels(content["target"]["labels"])
        for place, editor in self.editors.items():
            editor.setValue(_valueAt(content, place))
        self.adapt(content)

    def adapt(self, content: Content, edited: Place | None = None) -> None:
        """Hide the fields, choices and groups that mean nothing in a recipe.

        A field that is not at its default stays, whatever it means: an error may speak of it.

        Args:
            content: The recipe's JSON, with every field there.
            edited: The field that the user is editing; it stays as well.
        """
        self.groups[_("Labels")].visible = content["target"]["kind"] == "labels"
        for place, choices in possibleChoices(content).items():
            editor = self.editors[place]
            assert isinstance(editor, ChoiceEditor)
            editor.offer(choices, _valueAt(content, place))
        for place in self._rows:
            changed = _valueAt(content, place) != self._defaults[place]
            shown = changed or place == edited or hasMeaning(place, content)
            self._setRowVisible(place, shown)
        for title, places in self._places.items():
            self.groups[title].visible = any(place not in self._hidden for place in places)

    def _makeLabels(self, segments: Callable[[], list[Any]]) -> None:
        form = self._newGroup(_("Labels"))
        self.groups[_("Labels")].collapsed = False
        holder = qt.QWidget()
        qt.QVBoxLayout(holder).setContentsMargins(0, 0, 0, 0)
        form.addRow(holder)
        self.labels = LabelsEditor(
            holder.layout(), lambda rows: self._onEdited(("target", "labels"), rows), segments
        )

    def _makeGroup(self, title: str, parts: tuple[str, ...]) -> None:
        form = self._newGroup(_(title))
        known = set(self._rows)
        hints = typing.get_type_hints(Recipe)
        for part in parts:
            if part == "inputs":
                self._addFields(form, Input, ("inputs", 0))
                self._addFields(form, Target, ("target",))
            else:
                self._addFields(form, hints[part], (part,))
        self._places[_(title)] = [place for place in self._rows if place not in known]

    def _newGroup(self, title: str) -> Any:
        box = ctk.ctkCollapsibleButton()
        box.text = title
        box.objectName = f"recipe{title}Group"
        # Opened, a section shows all of its own children: a field that was hidden meanwhile, too.
        column = qt.QVBoxLayout(box)
        column.setContentsMargins(0, 0, 0, 0)
        holder = qt.QWidget()
        column.addWidget(holder)
        form = qt.QFormLayout(holder)
        form.setFieldGrowthPolicy(qt.QFormLayout.AllNonFixedFieldsGrow)
        self._column.addWidget(box)
        box.collapsed = True
        self.groups[title] = box
        self.layouts[title] = form
        return form

    def _addFields(self, form: Any, cls: type, place: Place) -> None:
        """Add a row for each field; how often something happens stands beside what happens."""
        hints = typing.get_type_hints(cls)
        chance: tuple[str, Any] | None = None
        fields = dataclasses.fields(cls)
        for field, following in zip(fields, (*fields[1:], None), strict=True):
            where = (*place, field.name)
            if where in _LEFT_OUT or where == ("inputs", 0, "name"):
                continue
            if dataclasses.is_dataclass(hints[field.name]):
                if place:  # those of the recipe have groups of their own
                    self._addFields(form, hints[field.name], where)
                continue
            editor = editorFor(field, hints[field.name], self._reporter(where))
            if editor is None:
                continue
            self.editors[where] = editor
            if isinstance(editor, FileEditor) and f"{field.name}{_CHECKSUM}" in hints:
                editor.onChosen = self._checksumTaker((*place, f"{field.name}{_CHECKSUM}"))
            editor.widget.objectName = "_".join(str(key) for key in where)
            editor.widget.toolTip = tipOf(field)
            kind = field.name.removesuffix(_PROBABILITY)
            if kind != field.name and following is not None and following.name.startswith(kind):
                chance = (kind, editor.widget)
                continue
            widget = editor.widget
            if chance is not None and field.name.startswith(chance[0]):
                widget = _beside(widget, chance[1])
            chance = None
            label = qt.QLabel(_labelText(field, place))
            label.toolTip = tipOf(field)
            form.addRow(label, widget)
            self._rows[where] = (label, widget)
            self._defaults[where] = to_json(field.default)

    def _reporter(self, place: Place) -> Callable[[Any], None]:
        return lambda value: self._onEdited(place, value)

    def _checksumTaker(self, place: Place) -> Callable[[str], None]:
        """What writes the checksum of a chosen file into a field."""

        def take(path: str) -> None:
            try:
                with slicer.util.WaitCursor():
                    digits = file_sha256(Path(path))
            except OSError:
                digits = ""  # which the recipe's check tells of; that of another file would mislead
            self.editors[place].setValue(digits)
            self._onEdited(place, digits)

        return take

    def _setRowVisible(self, place: Place, visible: bool) -> None:
        if place in self._rows and visible == (place in self._hidden):
            (self._hidden.discard if visible else self._hidden.add)(place)
            for widget in self._rows[place]:
                widget.visible = visible


def _valueAt(content: Any, place: Place) -> Any:
    for key in place:
        content = content[key]
    return content


def _labelText(field: dataclasses.Field[Any], place: Place) -> str:
    name = f"{place[-1]}.{field.name}" if place else field.name
    title = _(_TITLES.get(name) or _TITLES.get(field.name) or titleOf(field.name))
    unit = field.metadata.get("unit", "")
    return f"{title} ({unit}):" if unit else f"{title}:"


def _beside(widget: Any, chance: Any) -> Any:
    """Put how often something happens at the right of what happens."""
    holder = qt.QWidget()
    row = qt.QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(widget, 3)
    label = qt.QLabel(_("how often:"))
    label.toolTip = _("Part of the changed slices in which it takes part, from 0 to 1.")
    row.addWidget(label)
    row.addWidget(chance, 1)
    return holder
