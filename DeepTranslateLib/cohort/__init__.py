"""Cohorts: which images belong together, what is wrong with them, who teaches and who tests.

`case` and `cases` are the values, `files` reads them from folders and CSV, `split` and `folds` say
who teaches and who tests, `check` finds faults, `measurement` what a cohort is like.
"""

from DeepTranslateLib.cohort.case import Case, CohortError
from DeepTranslateLib.cohort.cases import Cohort, cohort_from_lists, read_cohort
from DeepTranslateLib.cohort.split import Selection, Split, split_cohort, split_for

__all__ = [
    "Case",
    "Cohort",
    "CohortError",
    "Selection",
    "Split",
    "cohort_from_lists",
    "read_cohort",
    "split_cohort",
    "split_for",
]
