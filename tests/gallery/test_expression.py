"""Expressions of Milvus are, in what we use, also expressions of Python: its parser is the judge."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semreid.errors import SemreidError
from semreid.gallery import Entry, Filter
from semreid.gallery.expression import behind, by_id, expression, literal

HOSTILE = [
    '"',
    "'",
    "\\",
    '\\"',
    '"] or camid >= 0 or pid in ["',
    "' or 1 == 1 or '",
    "%",
    "{x}",
    "日本",
    "\u2028",
    "$meta",
]
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20) | st.sampled_from(HOSTILE)
numbers = st.integers(0, 2**31 - 1)
times = st.floats(allow_nan=False, allow_infinity=False)


def conditions(text: str) -> list[tuple]:
    """The conditions of an expression as (operator, field, value)."""
    tree = ast.parse(text, mode="eval").body
    parts = tree.values if isinstance(tree, ast.BoolOp) else [tree]
    assert not isinstance(tree, ast.BoolOp) or isinstance(tree.op, ast.And)
    return [condition(part) for part in parts]


def condition(part: ast.expr) -> tuple:
    if isinstance(part, ast.Call):
        return part.func.id, part.args[0].id, ast.literal_eval(part.args[1])
    return type(part.ops[0]).__name__, part.left.id, ast.literal_eval(part.comparators[0])


@given(texts)
def test_a_quoted_text_is_read_as_that_text(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text


@given(
    st.lists(numbers, max_size=3),
    st.lists(numbers, max_size=3),
    st.none() | times,
    st.none() | times,
    st.lists(texts, max_size=3),
    st.lists(texts, max_size=3),
)
def test_an_expression_asks_for_what_the_filter_asks_for_and_nothing_else(camids, excluded, since, until, pids, tags):
    if since is not None and until is not None and since >= until:
        since = None
    where = Filter(camids, excluded, since, until, pids, tags)
    wanted = [
        ("In", "camid", camids),
        ("NotIn", "camid", excluded),
        ("GtE", "timestamp", since),
        ("Lt", "timestamp", until),
        ("In", "pid", pids),
        *(("array_contains", "tags", tag) for tag in tags),
    ]
    wanted = [w for w in wanted if w[2] not in (None, [])]
    assert (conditions(expression(where)) if where else []) == wanted
    assert bool(where) == bool(wanted)


@given(st.lists(texts, min_size=1))
def test_ids(names: list[str]) -> None:
    assert conditions(by_id(names)) == [("In", "id", names)]


@pytest.mark.parametrize("text", ["", "a\nb", "\0", "a\x7f", "\ud800", "x" * 300, 3, None])
def test_texts_that_cannot_be_stored_or_quoted_are_refused(text) -> None:
    for make in (lambda: Filter(pids=[text]), lambda: Filter(tags=[text]), lambda: Entry(tags=(text,))):
        with pytest.raises(SemreidError):
            make()
    if text != "":
        with pytest.raises(SemreidError):
            Entry(id=text)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"camids": [-1]}, "camid -1 is not a whole number from 0"),
        ({"camids": [10**23]}, "camid 1000.* is not a whole number from 0 to 2147483647\n  way out: number"),
        ({"camids": [True]}, "camid True"),
        ({"camids": ["1"]}, "camid '1'"),
        ({"exclude_camids": [1.0]}, "camid 1.0"),
        ({"since": float("nan")}, "since nan is not a number of seconds"),
        ({"until": "noon"}, "until 'noon'"),
        ({"since": 2, "until": 2}, "time range from 2.0 to 2.0 is empty"),
        ({"pids": "p1"}, "pids must be a list, not"),
        ({"tags": "day"}, "tags must be a list, not"),
    ],
)
def test_filters_that_make_no_sense_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        Filter(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"path": "x" * 5000}, "longer than 4096 bytes"),
        ({"path": "a\udcff.jpg"}, "no valid Unicode"),
        ({"path": 3}, "path 3 is not a text"),
        ({"pid": 3}, "pid 3 is not a text"),
        ({"timestamp": float("inf")}, "timestamp inf"),
        ({"box": (3, 0, 1, 1)}, "left < right"),
        ({"box": (0, 0, 1)}, "left, top, right, bottom"),
        ({"box": 5}, "left, top, right, bottom"),
        ({"tags": tuple(map(str, range(65)))}, "65 tags; a gallery keeps at most 64"),
    ],
)
def test_entries_that_cannot_be_kept_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        Entry(**wrong)


@given(st.sets(texts, max_size=12), st.integers(1, 4))
def test_pages_of_ids_hold_every_row_once(ids: set[str], size: int) -> None:
    """Pages are asked for as a walk over a gallery does: the rows behind the last id of the page before."""
    found: list[str] = []
    while True:
        asked = behind(found[-1] if found else "", Filter())
        assert (asked == "") == (not found)
        rows = sorted(i for i in ids if not asked or all(holds(c, i) for c in conditions(asked)))[:size]
        if not rows:
            break
        found += rows
    assert found == sorted(ids)


def holds(condition: tuple, id_: str) -> bool:
    operator, field, value = condition
    assert (operator, field) == ("Gt", "id")
    return id_ > value


@given(texts)
def test_a_page_asks_for_what_the_filter_asks_for_too(last: str) -> None:
    where = Filter(camids=[1], tags=["night"])
    assert conditions(behind(last, where)) == [("Gt", "id", last), *conditions(expression(where))]
    assert behind("", where) == expression(where)
