"""What a command prints of a training that runs."""

from __future__ import annotations

from typing import Any

import pytest

from DeepTranslateLib.cli import crossvalidate
from DeepTranslateLib.cli.console import Console
from DeepTranslateLib.cli.watching import training_progress

ADVICE = "Translated images are nearly of one value."


def of_training(console: Console, event: dict[str, Any]) -> None:
    with training_progress(console, 2) as show:
        show(event)


def of_folds(console: Console, event: dict[str, Any]) -> None:
    with crossvalidate._progress(console, 2) as show:
        show({**event, "run": {"slices": None, "seed": 0, "fold": 1}})


@pytest.mark.parametrize("heard_by", [of_training, of_folds])
@pytest.mark.parametrize(("subject", "before"), [("", ""), ("anna", "anna: ")])
def test_a_warning_names_its_subject_where_it_has_one(
    heard_by: Any, subject: str, before: str, capsys: pytest.CaptureFixture[str]
) -> None:
    heard_by(Console(as_json=False), {"event": "warning", "subject": subject, "message": ADVICE})
    assert capsys.readouterr().err == f"Warning: {before}{ADVICE}\n"
