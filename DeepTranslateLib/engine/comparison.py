"""Statistics of tables in which each row is a subject or fold and each column a way to train.

Rows belong together: the same fold, the same test images. Only the tests need SciPy, which comes
with the extra `report`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Table = Mapping[str, Sequence[float]]


class ComparisonError(ValueError):
    """A table cannot be tested; the message says why and what to do."""


@dataclass(frozen=True)
class OverallResult:
    """A test of the hypothesis that all columns are alike.

    Attributes:
        statistic: Friedman's chi-squared, or F.
        degrees: Degrees of freedom: one number for chi-squared, two for F.
        p: Probability of such a statistic, or a larger one, were the hypothesis true.
    """

    statistic: float
    degrees: tuple[int, ...]
    p: float


@dataclass(frozen=True)
class PairResult:
    """A test of the hypothesis that the differences of two columns lie around 0.

    Attributes:
        first: Name of one column.
        second: Name of the other.
        statistic: Wilcoxon's T, the smaller sum of ranks.
        p: Two-sided.
        corrected_p: After Holm's correction for the number of pairs.
    """

    first: str
    second: str
    statistic: float
    p: float
    corrected_p: float


def median_range(values: Iterable[float], decimals: int = 3) -> str:
    """The values as "median (lowest to highest)"; NaN is left out, "-" where nothing remains.

    Example:
        >>> median_range([0.951, 0.983, 0.976])
        '0.976 (0.951 to 0.983)'
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    numbers = (float(np.median(known)), min(known), max(known))
    middle, low, high = (f"{number:.{decimals}f}" for number in numbers)
    return f"{middle} ({low} to {high})"


def friedman(table: Table) -> OverallResult:
    """Friedman's test (1937) of three columns or more, by ranks within rows, corrected for ties.

    The chi-squared distribution is an approximation: with fewer than about ten rows its p is
    rough.

    Raises:
        ComparisonError: Fewer than three columns or two rows, values missing, or no SciPy.
    """
    values = _checked(table, columns=3)
    degrees = (values.shape[1] - 1,)
    if (values == values[:, :1]).all():
        return OverallResult(0.0, degrees, 1.0)
    statistic, p = _scipy_stats().friedmanchisquare(*values.T)
    return OverallResult(float(statistic), degrees, float(p))


def repeated_anova(table: Table) -> OverallResult:
    """One-way analysis of variance with repeated measures (each row under every column).

    Supposes normal residuals, and differences of any two columns that vary alike (sphericity);
    Friedman's test supposes neither.

    Raises:
        ComparisonError: Fewer than two columns or rows, values missing, or no SciPy.
    """
    values = _checked(table, columns=2)
    rows, columns = values.shape
    degrees = (columns - 1, (rows - 1) * (columns - 1))
    if (values == values[:, :1]).all():
        return OverallResult(0.0, degrees, 1.0)
    of_columns = values.mean(axis=0, keepdims=True) - values.mean()
    of_rows = values.mean(axis=1, keepdims=True) - values.mean()
    residual = float(((values - values.mean() - of_columns - of_rows) ** 2).sum()) / degrees[1]
    between = rows * float((of_columns**2).sum()) / degrees[0]
    statistic = between / residual if residual else math.inf
    return OverallResult(statistic, degrees, float(_scipy_stats().f.sf(statistic, *degrees)))


def wilcoxon_pairs(table: Table) -> tuple[PairResult, ...]:
    """Wilcoxon's signed-rank test (1945) of each pair of columns, corrected after Holm.

    Two-sided; rows without a difference are left out; exact for small tables. With n rows p is
    never below 2^(1 - n): five folds cannot reach 0.05.

    Raises:
        ComparisonError: Fewer than two columns or rows, values missing, or no SciPy.
    """
    values = _checked(table, columns=2)
    pairs = list(itertools.combinations(range(values.shape[1]), 2))
    found = [_wilcoxon(values[:, a] - values[:, b]) for a, b in pairs]
    corrected = holm([p for _, p in found])
    names = list(table)
    return tuple(
        PairResult(names[a], names[b], statistic, p, after)
        for (a, b), (statistic, p), after in zip(pairs, found, corrected, strict=True)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number (Holm 1979), in the order given.

    The least of m is multiplied by m, the next by m - 1, and so on; none falls below the one
    before it, none exceeds 1.
    """
    corrected = [0.0] * len(p_values)
    before = 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        before = max(before, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = before
    return corrected


def _wilcoxon(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    if not differences.any():
        return 0.0, 1.0
    statistic, p = _scipy_stats().wilcoxon(differences)
    return float(statistic), float(p)


def _checked(table: Table, columns: int) -> npt.NDArray[np.float64]:
    """The table as (rows, columns)."""
    lengths = {name: len(values) for name, values in table.items()}
    if len(lengths) < columns:
        raise ComparisonError(
            f"This test needs at least {columns} columns to compare; it was given {len(lengths)}."
        )
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise ComparisonError(
            f"Rows belong together, and the columns have different numbers of them: {sizes}. Give "
            "each column a value for every subject or fold."
        )
    values = np.array(list(table.values()), dtype=np.float64).T
    if len(values) < 2:
        raise ComparisonError(f"This test needs at least 2 rows; there is {len(values)}.")
    missing = [name for name, column in table.items() if not np.isfinite(column).all()]
    if missing:
        raise ComparisonError(
            f"Values are missing or not finite in {', '.join(missing)}. Leave out the rows of "
            "these subjects or folds in every column."
        )
    return values


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise ComparisonError(
            "Tests of significance need the Python package SciPy, which is not there "
            f'({error}). Install it with: python -m pip install "scipy>=1.13"'
        ) from error
    return stats
