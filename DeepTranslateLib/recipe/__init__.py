"""Recipe: everything that defines a translation, as data.

A recipe is a JSON document and a tree of frozen dataclasses. A field that a recipe leaves out has
the default written here; an unknown field or an impossible value is refused with its JSON path.
"""

from DeepTranslateLib.recipe.adversarial import Adversarial, Contrast, Structure
from DeepTranslateLib.recipe.augmentation import Augmentation, Noise
from DeepTranslateLib.recipe.direction import (
    BACKWARD,
    DIRECTIONS,
    FORWARD,
    in_direction,
    names_of_sides,
)
from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.recipe.files import builtin_recipes, read_recipe, write_recipe
from DeepTranslateLib.recipe.images import Code, Input, Label, Target
from DeepTranslateLib.recipe.learning import (
    CHANGEABLE,
    LABEL_LOSSES,
    VOLUME_LOSSES,
    LossTerm,
    Method,
    Optimizer,
    Training,
)
from DeepTranslateLib.recipe.network import Network
from DeepTranslateLib.recipe.sampling import PLANES, Preprocessing, Sampling
from DeepTranslateLib.recipe.whole import (
    AS_WRITTEN,
    FORMAT_VERSION,
    FROM_COHORT,
    Recipe,
    recipe_from_json,
)

__all__ = [
    "AS_WRITTEN",
    "BACKWARD",
    "CHANGEABLE",
    "DIRECTIONS",
    "FORMAT_VERSION",
    "FORWARD",
    "FROM_COHORT",
    "LABEL_LOSSES",
    "PLANES",
    "VOLUME_LOSSES",
    "Adversarial",
    "Augmentation",
    "Code",
    "Contrast",
    "Input",
    "Label",
    "LossTerm",
    "Method",
    "Network",
    "Noise",
    "Optimizer",
    "Preprocessing",
    "Recipe",
    "RecipeError",
    "Sampling",
    "Structure",
    "Target",
    "Training",
    "builtin_recipes",
    "in_direction",
    "names_of_sides",
    "read_recipe",
    "recipe_from_json",
    "write_recipe",
]
