"""A job's events: JSON lines that survive a crash, and whoever listens."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.jobs import Events, read_events

CONTENTS = st.dictionaries(
    st.text(st.characters(categories=["Ll"]), min_size=1).filter(
        lambda key: key not in ("event", "time", "self")
    ),
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.integers())),
    max_size=4,
)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.text(max_size=10), CONTENTS), max_size=5))
def test_events_come_back_in_order_whatever_their_text(
    tmp_path_factory: pytest.TempPathFactory, emitted: list[tuple[str, dict[str, Any]]]
) -> None:
    path = tmp_path_factory.mktemp("job") / "events.jsonl"
    events = Events(path)
    for event, content in emitted:
        events.emit(event, **content)
    found = read_events(path)
    assert [(each.pop("event"), each.pop("time") > 0, each) for each in found] == [
        (event, True, content) for event, content in emitted
    ]
    # One JSON object a line, so that any tool can follow the file.
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    assert lines.pop() == b""
    assert len(lines) == len(emitted)
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_an_event_says_when_it_was() -> None:
    heard: list[dict[str, Any]] = []
    before = time.time()
    Events(sink=heard.append).emit("step", loss=0.5)
    assert before - 1e-3 <= heard[0].pop("time") <= time.time() + 1e-3
    assert heard == [{"event": "step", "loss": 0.5}]


def test_the_listener_hears_what_the_file_says(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    events = Events(tmp_path / "e", heard.append)
    events.emit("one")
    assert read_events(tmp_path / "e") == heard
    events.emit("two", values=[1, 2])
    assert read_events(tmp_path / "e") == heard
    assert [each["event"] for each in heard] == ["one", "two"]


def test_the_file_has_the_event_before_the_listener_hears_it(tmp_path: Path) -> None:
    # A panel that reads the file when it is told must find the event.
    path = tmp_path / "e"
    seen: list[int] = []
    Events(path, lambda event: seen.append(len(read_events(path)))).emit("one")
    assert seen == [1]


def test_a_job_without_events_has_none(tmp_path: Path) -> None:
    assert read_events(tmp_path / "missing") == []


@pytest.mark.parametrize("cut", [1, 2, 10, 25])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "e"
    events = Events(path)
    events.emit("one", text="é" * 5)
    events.emit("two", text="ü" * 5)
    path.write_bytes(path.read_bytes()[: -1 - cut])
    assert [event["event"] for event in read_events(path)] == ["one"]


@pytest.mark.parametrize("cut", [0, 1, 2, 10, 25])
def test_a_job_that_goes_on_after_a_cut_off_line_loses_no_event_of_its_own(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "e"
    events = Events(path)
    events.emit("one")
    events.emit("two", text="x" * 20)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) - cut])
    events = Events(path)
    events.emit("three")
    events.emit("four")
    found = [event["event"] for event in read_events(path)]
    # Of a line that lacks its line break alone, everything is there.
    assert found == (["one", "two"] if cut <= 1 else ["one"]) + ["three", "four"]


def test_what_json_cannot_hold_is_refused_and_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "e"
    events = Events(path)
    events.emit("one")
    with pytest.raises(TypeError):
        events.emit("two", where=Path("x"))
    events.emit("three")
    assert [event["event"] for event in read_events(path)] == ["one", "three"]
