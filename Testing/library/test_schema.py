"""Typed JSON: what is accepted, and that every refusal names its place."""

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepTranslateLib.schema import SchemaError, decode_json, from_json, limits, read_json, to_json


@dataclass(frozen=True)
class Leaf:
    size: int = limits(minimum=1, maximum=9)
    share: float = limits(0.5, minimum=0, maximum=1)
    color: tuple[int, int, int] = limits((1, 2, 3), minimum=0, maximum=255)
    kind: str = limits("a", choices=("a", "b"))
    flag: bool = False


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    best: Leaf | None = None
    spacing: float | str | None = "auto"
    notes: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def validate(self, path):
        if self.spacing == "none":
            raise SchemaError(f"{path}.spacing", "not this.")


def tree(**content):
    return from_json(Tree, {"leaves": [{"size": 1}], **content})


def refused(content, cls=Tree):
    with pytest.raises(SchemaError) as caught:
        from_json(cls, content)
    assert str(caught.value).startswith(f"{caught.value.path}: ")
    return caught.value


leaves = st.builds(
    Leaf,
    st.integers(1, 9),
    st.floats(0, 1),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.sampled_from("ab"),
    st.booleans(),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
trees = st.builds(
    Tree,
    st.lists(leaves, max_size=3).map(tuple),
    st.none() | leaves,
    st.none() | st.floats(0, 9) | st.just("auto"),
    st.dictionaries(st.text(), plain, max_size=3),
    st.dictionaries(st.text(), st.floats(-9, 9), max_size=3),
)


@given(trees)
def test_what_is_written_is_read_back(value):
    assert from_json(Tree, decode_json(json.dumps(to_json(value)).encode(), "it")) == value


@given(plain)
def test_any_json_is_a_tree_or_refused(value):
    with contextlib.suppress(SchemaError):
        assert isinstance(from_json(Tree, value), Tree)


@given(st.binary(max_size=60) | st.text('[]{}",:0123456789.eE-+ntf\\u', max_size=60))
def test_decoding_ends_in_json_or_in_a_schema_error(content):
    content = content if isinstance(content, bytes) else content.encode()
    try:
        value = decode_json(content, "it")
    except SchemaError:
        return
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (7, "$"),
        ({}, "$.leaves"),
        ({"leaves": {}}, "$.leaves"),
        ({"leaves": [3]}, "$.leaves[0]"),
        ({"leaves": [{"size": 1}, {}]}, "$.leaves[1].size"),
        ({"leaves": [{"size": 0}]}, "$.leaves[0].size"),
        ({"leaves": [{"size": 10}]}, "$.leaves[0].size"),
        ({"leaves": [{"size": True}]}, "$.leaves[0].size"),
        ({"leaves": [{"size": 1.5}]}, "$.leaves[0].size"),
        ({"leaves": [{"size": "1"}]}, "$.leaves[0].size"),
        ({"leaves": [{"size": None}]}, "$.leaves[0].size"),
        ({"leaves": [{"size": 10**400}]}, "$.leaves[0].size"),
        ({"leaves": [{"size": 1, "share": 1.01}]}, "$.leaves[0].share"),
        ({"leaves": [{"size": 1, "share": True}]}, "$.leaves[0].share"),
        ({"leaves": [{"size": 1, "share": float("nan")}]}, "$.leaves[0].share"),
        ({"leaves": [{"size": 1, "share": 10**400}]}, "$.leaves[0].share"),
        ({"leaves": [{"size": 1, "color": [1, 2]}]}, "$.leaves[0].color"),
        ({"leaves": [{"size": 1, "color": [1, 2, 256]}]}, "$.leaves[0].color[2]"),
        ({"leaves": [{"size": 1, "color": [1, "x", 2]}]}, "$.leaves[0].color[1]"),
        ({"leaves": [{"size": 1, "kind": "c"}]}, "$.leaves[0].kind"),
        ({"leaves": [{"size": 1, "flag": 1}]}, "$.leaves[0].flag"),
        ({"leaves": [], "best": {"size": 99}}, "$.best.size"),
        ({"leaves": [], "best": {"siez": 9}}, "$.best.siez"),
        ({"leaves": [], "spacing": []}, "$.spacing"),
        ({"leaves": [], "spacing": "none"}, "$.spacing"),
        ({"leaves": [], "notes": [1]}, "$.notes"),
        ({"leaves": [], "weights": {"fat": "much"}}, "$.weights.fat"),
    ],
)
def test_a_refusal_names_the_place(content, path):
    assert refused(content).path == path


def test_an_unknown_field_suggests_the_nearest_and_otherwise_lists_all():
    assert "Did you mean 'leaves'?" in str(refused({"leafs": []}))
    assert "Known: leaves, best, spacing, notes, weights." in str(refused({"zzz": 1}))


def test_whole_numbers_may_be_written_with_a_point():
    assert tree(best={"size": 3.0}).best.size == 3
    assert isinstance(tree(best={"size": 3.0}).best.size, int)
    assert isinstance(tree(best={"size": 3, "share": 1}).best.share, float)


def test_a_message_stays_readable_when_the_content_is_huge():
    huge = "x" * 1_000_000
    for content in ({huge: 1}, {"leaves": huge}, {"leaves": [{"size": 1, "kind": huge}]}):
        assert len(str(refused(content))) < 500


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "line 1, column 2"),
        (b'{"a": 1}\n}', "line 2, column 1"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 200_000, "deeply"),
        (b"9" * 10_000, "too many digits"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(content, says):
    with pytest.raises(SchemaError, match=says) as caught:
        decode_json(content, "the recipe")
    assert "the recipe" in str(caught.value)


def test_many_fields_decode_in_good_time():
    content = json.dumps({str(number): number for number in range(200_000)}).encode()
    assert len(decode_json(content, "it")) == 200_000


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "it.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(path, "it") == {}
