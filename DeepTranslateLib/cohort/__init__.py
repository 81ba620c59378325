"""Cohorts: which images belong together, what is wrong with them, who teaches and who tests.

`case` and `cases` are the values and the split, `files` reads them from folders and CSV, `check`
finds their faults.
"""

from DeepTranslateLib.cohort.case import Case, CohortError
from DeepTranslateLib.cohort.cases import (
    Cohort,
    Selection,
    Split,
    cohort_from_lists,
    read_cohort,
    split_cohort,
)

__all__ = [
    "Case",
    "Cohort",
    "CohortError",
    "Selection",
    "Split",
    "cohort_from_lists",
    "read_cohort",
    "split_cohort",
]
