"""Volumes that models make: how they are shown, and what their values are."""

import pytest
import slicer
import translate_samples as samples

from DeepTranslateLib.model import read_model, write_model
from DeepTranslateLib.mrml.panels.modelcard import cardText
from DeepTranslateLib.mrml.panels.translationresult import summaryText
from DeepTranslateLib.mrml.provenance import readProvenance
from DeepTranslateLib.mrml.translating import translate
from DeepTranslateLib.mrml.translationitems import shownRange
from DeepTranslateLib.recipe import read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

T2 = "T2, parts of the median"


@pytest.fixture
def modelOf(tmp_path):
    """Function: the tiny volume model, said to make something else."""

    def make(inputUnits, preprocessing, **target):
        source = read_model(samples.model("volume", tmp_path))
        content = to_json(source.recipe)
        content["inputs"][0].update(modality="other", units=inputUnits)
        content["preprocessing"].update(preprocessing)
        content["target"].update(target)
        recipe = recipe_from_json(content)
        path = tmp_path / "other.dtmodel"
        return read_model(write_model(path, recipe, source.card, source.weights()))

    return make


def shown(volumeNode):
    display = volumeNode.GetDisplayNode()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def unitsOf(volumeNode):
    units = volumeNode.GetVoxelValueUnits()
    return units.GetCodeMeaning() if units is not None else None


def inputVolume(offset=0):
    node = samples.volumeNode(array=samples.voxels(50)[0] + offset)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(-123, 321)
    return node


@pytest.mark.parametrize(
    ("inputUnits", "preprocessing", "target", "window", "coded"),
    [
        ("HU", {}, {"units": "HU"}, (-123, 321), "Hounsfield unit"),
        ("", {}, {"units": "HU", "range": [-1024, 1976]}, (-1024, 1976), "Hounsfield unit"),
        (
            "",
            {"standardisation": "median", "window": [0, 3]},
            {"units": T2, "range": [0, 4], "standardisation": "median"},
            (0, 4),
            None,
        ),
        ("", {}, {"units": "", "range": [0, 255]}, (0, 255), None),
    ],
)
def test_a_volume_is_shown_in_its_own_range_unless_it_has_the_units_of_the_input(
    modelOf, inputUnits, preprocessing, target, window, coded
):
    model = modelOf(inputUnits, preprocessing, **target)
    # Magnitudes, where no unit is named.
    volumeNode = inputVolume(0 if inputUnits else 1000)
    done = translate(volumeNode, model)
    assert shown(done.output) == pytest.approx(window)
    values = slicer.util.arrayFromVolume(done.output)
    low, high = model.recipe.target.range
    assert low <= values.min() < values.max() <= high
    assert unitsOf(done.output) == coded
    assert unitsOf(volumeNode) is None
    assert readProvenance(done.output).get("Units", "") == target["units"]
    text = summaryText(done, model)
    assert (f"in {target['units']}." in text) == bool(target["units"])


def test_units_of_an_earlier_model_are_taken_back(modelOf):
    volumeNode = inputVolume()
    output = translate(volumeNode, modelOf("HU", {}, units="HU")).output
    assert unitsOf(output) == "Hounsfield unit"
    translate(volumeNode, modelOf("HU", {}, units=""), output=output)
    assert unitsOf(output) is None
    assert "Units" not in readProvenance(output)


@pytest.mark.parametrize(
    ("name", "likeInput"), [("ct-denoise", True), ("mr-t1-to-t2", False), ("mr-to-ct", False)]
)
def test_built_in_recipes_show_what_they_make(name, likeInput):
    recipe = read_recipe(name)
    assert shownRange(recipe) == (None if likeInput else recipe.target.range)


def test_the_card_says_the_error_of_a_volume_with_its_unit(modelOf):
    model = modelOf("HU", {}, units="HU")
    error = model.card.metrics["validation"]["mean_absolute_error"]
    assert f"mean absolute error {error:.3g} HU" in cardText(model)
