"""Recipes, images and cohorts of two domains that the tests of unpaired cohorts share."""

from pathlib import Path

import numpy as np

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.cohort.case import DOMAINS
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import recipe_from_json

AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])
TARGET = {"kind": "volume", "units": "HU", "range": [-1000, 1000]}


def a_recipe(method, **training):
    return recipe_from_json(
        {
            "name": method,
            "target": TARGET,
            "preprocessing": {"window": [0, 1000], "spacing": None},
            "method": {"name": method, "loss": "mae"},
            "training": training,
        }
    )


UNPAIRED = a_recipe("cyclegan", monitor="last")
PAIRED = a_recipe("supervised")


def image(seed=0, low=0.0, high=800.0, shape=(6, 8, 8)):
    return Image(np.random.default_rng(seed).uniform(low, high, shape), AFFINE)


def mr(seed):
    return image(seed)


def ct(seed):
    return image(seed + 1000, -1000.0, 500.0)


def cohort_of(**subjects):
    """Subjects by the initials of their domains, a="s", b="st", with images in memory."""
    cases = []
    for number, (subject, initials) in enumerate(subjects.items()):
        for domain, make in zip(DOMAINS, (mr, ct), strict=True):
            if domain[0] in initials:
                cases.append(Case(subject, make(number), None, domain=domain))
    return Cohort(tuple(cases), "the cohort")


def files_of(subjects):
    """The same, of files that are not there."""
    cases = [
        Case(subject, Path(domain) / f"{subject}.nrrd", None, domain=domain)
        for subject, initials in subjects.items()
        for domain in DOMAINS
        if domain[0] in initials
    ]
    return Cohort(tuple(cases), "the cohort")
