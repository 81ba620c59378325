"""Tests of significance against published worked examples and against enumeration."""

import itertools
import math
import sys

import numpy as np
import pytest

from DeepTranslateLib.engine.comparison import (
    ComparisonError,
    friedman,
    holm,
    median_range,
    repeated_anova,
    wilcoxon_pairs,
)

# Hollander & Wolfe 1973, p. 140: seconds of 22 players to round first base in three ways.
SECONDS = """
    5.40 5.50 5.55  5.85 5.70 5.75  5.20 5.60 5.50  5.55 5.50 5.40  5.90 5.85 5.70
    5.45 5.55 5.60  5.40 5.40 5.35  5.45 5.50 5.35  5.25 5.15 5.00  5.85 5.80 5.70
    5.25 5.20 5.10  5.65 5.55 5.45  5.60 5.35 5.45  5.05 5.00 4.95  5.50 5.50 5.40
    5.45 5.55 5.50  5.55 5.55 5.35  5.45 5.50 5.55  5.50 5.45 5.25  5.65 5.60 5.40
    5.70 5.65 5.55  6.30 6.30 6.25
"""
ROUNDING = np.array([float(word) for word in SECONDS.split()]).reshape(22, 3)
# Hollander & Wolfe 1973, p. 29: depression scale of nine patients on two visits.
VISITS = {
    "first": [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30],
    "second": [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29],
}
# Laerd Statistics, "Repeated measures ANOVA": fitness of six people before and after training.
FITNESS = {
    "before": [45, 42, 36, 39, 51, 44],
    "3 months": [50, 42, 41, 35, 55, 49],
    "6 months": [55, 45, 43, 40, 59, 56],
}


def test_values_are_told_as_median_and_range() -> None:
    assert median_range([0.951, 0.983, 0.976]) == "0.976 (0.951 to 0.983)"
    assert median_range([3, -1, 2, 10], decimals=1) == "2.5 (-1.0 to 10.0)"
    assert median_range([0.5, math.nan]) == "0.500 (0.500 to 0.500)"
    assert median_range([math.nan]) == median_range([]) == "-"


def test_holms_correction_is_that_of_its_textbook_examples() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_rejects_what_his_step_by_step_rule_rejects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = list(rng.random(5) ** 4)
        rejected = set()
        for rank, place in enumerate(np.argsort(p_values)):
            if p_values[place] > 0.05 / (5 - rank):
                break
            rejected.add(int(place))
        assert {place for place, p in enumerate(holm(p_values)) if p <= 0.05} == rejected


def test_friedmans_test_is_the_published_one_of_rounding_first_base() -> None:
    pytest.importorskip("scipy")
    names = ("round out", "narrow angle", "wide angle")
    result = friedman(dict(zip(names, ROUNDING.T.tolist(), strict=True)))
    assert result.statistic == pytest.approx(11.143, abs=5e-4)
    assert result.degrees == (2,)
    assert result.p == pytest.approx(0.003805, abs=5e-7)


def test_friedmans_statistic_is_that_of_the_ranks() -> None:
    pytest.importorskip("scipy")
    rng = np.random.default_rng(1)
    values = rng.random((7, 4))
    ranks = values.argsort(axis=1).argsort(axis=1) + 1
    expected = 12 / (7 * 4 * 5) * (ranks.sum(0) ** 2).sum() - 3 * 7 * 5
    result = friedman({str(n): column for n, column in enumerate(values.T.tolist())})
    assert result.statistic == pytest.approx(expected)


def test_wilcoxons_test_is_the_published_one_of_the_depression_scale() -> None:
    pytest.importorskip("scipy")
    (result,) = wilcoxon_pairs(VISITS)
    assert (result.first, result.second) == ("first", "second")
    assert result.statistic == 5  # 45 minus the published sum of positive ranks, 40
    assert result.p == pytest.approx(2 * 0.01953, abs=2e-5)
    assert result.corrected_p == result.p


def test_wilcoxons_p_is_the_part_of_all_signs_that_are_as_extreme() -> None:
    pytest.importorskip("scipy")
    rng = np.random.default_rng(2)
    columns = {name: rng.random(6).tolist() for name in "abc"}
    for result in wilcoxon_pairs(columns):
        difference = np.subtract(columns[result.first], columns[result.second])
        ranks = np.abs(difference).argsort().argsort() + 1
        mine = ranks[difference > 0].sum()
        sums = [np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=6)]
        extreme = np.mean([abs(total - 10.5) >= abs(mine - 10.5) for total in sums])
        assert result.statistic == min(mine, 21 - mine)
        assert result.p == pytest.approx(extreme)


def test_pairs_are_corrected_together() -> None:
    pytest.importorskip("scipy")
    rng = np.random.default_rng(3)
    table = {
        name: (rng.random(9) + shift).tolist() for name, shift in (("a", 0), ("b", 3), ("c", 3))
    }
    results = wilcoxon_pairs(table)
    assert [(r.first, r.second) for r in results] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [r.corrected_p for r in results] == holm([r.p for r in results])
    assert results[0].corrected_p == pytest.approx(3 * 2 / 2**9)


def test_repeated_anova_is_the_published_one_of_fitness() -> None:
    pytest.importorskip("scipy")
    result = repeated_anova(FITNESS)
    assert result.degrees == (2, 10)
    assert result.statistic == pytest.approx(12.53, abs=5e-3)
    assert result.p == pytest.approx(0.002, abs=5e-4)


def test_repeated_anova_of_two_columns_is_the_paired_t_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    two = {name: FITNESS[name] for name in ("before", "6 months")}
    t = stats.ttest_rel(*two.values())
    result = repeated_anova(two)
    assert result.statistic == pytest.approx(t.statistic**2)
    assert result.p == pytest.approx(t.pvalue)


def test_columns_that_are_alike_give_no_evidence() -> None:
    pytest.importorskip("scipy")
    table = {name: [0.9, 0.8, 0.7] for name in "abc"}
    assert (friedman(table).statistic, friedman(table).p) == (0, 1)
    assert (repeated_anova(table).statistic, repeated_anova(table).p) == (0, 1)
    assert [(r.statistic, r.p, r.corrected_p) for r in wilcoxon_pairs(table)] == [(0, 1, 1)] * 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1, 2], "b": [1, 2]}, "at least 3 columns"),
        ({"a": [1, 2], "b": [1, 2], "c": [1]}, "'a' 2, 'b' 2, 'c' 1"),
        ({"a": [1], "b": [2], "c": [3]}, "at least 2 rows"),
        ({"a": [1, 2], "b": [1, math.nan], "c": [1, 2]}, "not finite in b"),
    ],
)
def test_tables_that_cannot_be_tested_are_refused(
    table: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ComparisonError, match=message):
        friedman(table)


def test_without_scipy_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    for test in (friedman, repeated_anova, wilcoxon_pairs):
        with pytest.raises(ComparisonError, match=r'SciPy.*pip install "scipy'):
            test(FITNESS)
    assert median_range([1, 2]) == "1.500 (1.000 to 2.000)"
