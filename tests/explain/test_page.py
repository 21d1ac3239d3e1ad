"""Pages are read back with a parser: what it finds is what a browser would do with them."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from semreid.data.sample import Protocol, ReIDDataset, Sample
from semreid.evaluation.protocol import Evaluation, evaluate
from semreid.explain import Candidate, Explanation, explain
from semreid.explain.evidence import Evidence, Layer, Part
from semreid.explain.page import evaluation_page, explanation_page, verdict
from semreid.gallery import Entry, Gallery, Match
from semreid.models.model import ReIDModel
from tests.conftest import draw_figure, write_image

HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>&amp;{{7*7}}</style>"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags with their attributes, and all text; complains of tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        else:
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def assert_self_contained(page: Page) -> None:
    """No script, no handler, and nothing that is fetched from anywhere."""
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in {"src", "href", "srcset", "action", "poster"}:
                assert str(value).startswith(("data:image/jpeg;base64,", "#match-")), value
            if name == "style":
                assert re.fullmatch(r"[\w :.;%#-]+", str(value)), value
    assert page.style.strip().startswith(":root")
    assert not re.search(r"url\(|@import|<", page.style)
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


@pytest.fixture
def explanation(model: ReIDModel, crops: list[Path], gallery: Gallery) -> Explanation:
    return explain(model, crops[0], gallery, top=6)


def test_a_page_shows_every_match_with_its_mark_and_evidence(explanation: Explanation) -> None:
    page = Page(explanation_page(explanation))
    assert_self_contained(page)
    articles = [attributes for tag, attributes in page.tags if tag == "article"]
    marks = {True: "right", False: "wrong", None: "unknown"}
    assert [a["class"] for a in articles] == [f"match {marks[c.is_same]}" for c in explanation.candidates]
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 1 + 6 + 6 * 4  # the query, the strip, and two pairs of each match
    for c in explanation.candidates:
        assert f"{c.match.similarity:.3f}" in page.text
        assert str(c.match.entry.path) in page.text
    assert "camera 2" in page.text
    assert "0:02:00" in page.text
    assert "this model is not calibrated" in page.text


def test_nothing_that_a_user_names_can_break_out(explanation: Explanation) -> None:
    crop = draw_figure(1, 1, 0)
    entry = Entry(id=HOSTILE[:120], path=f"/d/{HOSTILE}", pid=HOSTILE, camid=1, tags=[HOSTILE])
    part, layer = Part(HOSTILE, 0.5, (0.1, 0.9)), Layer(HOSTILE, crop, crop)
    hostile = replace(
        explanation,
        query=entry,
        gallery=HOSTILE,
        prior=0.5,
        candidates=(
            Candidate(1, Match(entry, 0.5), True, 0.5, crop, HOSTILE, Evidence((layer,), (part,))),
            Candidate(2, Match(entry, 0.4), None, None, None, HOSTILE),
        ),
    )
    page = Page(explanation_page(hostile))
    assert_self_contained(page)
    assert page.text.count(HOSTILE) >= 8
    assert "{{7*7}}" in page.text
    assert "49" not in [text.strip() for text in page.texts]


def test_parts_and_further_layers_appear_only_where_a_model_has_them(explanation: Explanation) -> None:
    plain = explanation_page(explanation)
    assert 'class="parts"' not in plain
    texture = np.full((256, 256, 3), 90, np.uint8)
    parts = (Part("torso", 0.875, (1.0, 0.25)),)
    first = explanation.candidates[0]
    rich = replace(
        first, evidence=Evidence((*first.evidence.layers, Layer("texture", texture, texture)), parts), probability=0.42
    )
    page = Page(explanation_page(replace(explanation, candidates=(rich, *explanation.candidates[1:]), prior=0.5)))
    for text in ("torso", "0.875", "100 %", "25 %", "Texture", "42 %"):
        assert text in page.text


def test_a_probability_stands_beside_what_it_rests_on(explanation: Explanation) -> None:
    """A right match may have 6 %, where 2.5 % was to be expected: neither number says anything without the other."""
    right = replace(explanation.candidates[0], is_same=True, probability=0.059)
    known = {"prior": 0.025, "no_probability": "", "basis": "calibrated on 9 people"}
    text = Page(explanation_page(replace(explanation, candidates=(right,), **known))).text
    assert "before looking 2.5 %, one in 40; calibrated on 9 people" in text
    assert text.count("5.9 %") == text.count("labelled as this person") + 1 == 2
    assert text.count("2.5 %") == 3


def test_a_query_without_matches_has_a_page(explanation: Explanation) -> None:
    empty = replace(explanation, candidates=())
    page = Page(explanation_page(empty))
    assert "Nothing in the gallery passes the filter." in page.text
    assert "Best matches" not in page.text


@pytest.mark.parametrize(
    ("marks", "sentence"),
    [
        ([True, False, None], "1 of the 3 best matches shows the person of the query; of 1 it is not known."),
        ([True, True], "2 of the 2 best matches show the person of the query."),
        ([False, False, True], "1 of the 3 best matches shows the person of the query. The first one is at rank 3."),
        ([False], "0 of the 1 best matches show the person of the query."),
        ([None, None], "The 2 best matches; whether they show the person of the query is not known."),
    ],
)
def test_the_verdict_counts_what_is_known(explanation: Explanation, marks: list[bool | None], sentence: str) -> None:
    match = explanation.candidates[0].match
    candidates = tuple(Candidate(i, match, mark, None) for i, mark in enumerate(marks, 1))
    assert verdict(replace(explanation, candidates=candidates, of_person=None)) == sentence


@pytest.mark.parametrize(
    ("marks", "of_person", "tail"),
    [
        ([True, True, False], 2, " No other crop of this person was searched."),
        ([True, False], 2, " 1 more of this person was searched."),
        ([False], 3, " 3 more of this person were searched."),
        ([False], 0, " No crop of this person was searched."),
    ],
)
def test_the_verdict_says_whether_there_was_more_to_find(
    explanation: Explanation, marks: list[bool | None], of_person: int, tail: str
) -> None:
    match = explanation.candidates[0].match
    candidates = tuple(Candidate(i, match, mark, None) for i, mark in enumerate(marks, 1))
    assert verdict(replace(explanation, candidates=candidates, of_person=of_person)).endswith("the query." + tail)


@pytest.fixture(scope="module")
def evaluation(model: ReIDModel, figure_data: ReIDDataset) -> Evaluation:
    return evaluate(model, figure_data)


def test_a_report_shows_figures_curves_examples_and_rules(evaluation: Evaluation) -> None:
    page = Page(evaluation_page(evaluation, "runs/first"))
    assert_self_contained(page)
    for name in ("mAP", "rank1", "mINP"):
        assert f"{evaluation.metrics[name]:.1f}" in page.text
    assert "runs/first" in page.text
    assert [a["class"] for tag, a in page.tags if tag == "svg"] == ["chart", "chart"]
    assert sum(a.get("class") == "example" for _, a in page.tags) == 8
    assert "stable: gallery order" in page.text
    assert "valid queries" in page.text


def test_a_report_escapes_what_users_name(evaluation: Evaluation) -> None:
    protocol = {**evaluation.protocol, "dataset": HOSTILE, "warnings": [HOSTILE], "note": HOSTILE}
    page = Page(evaluation_page(replace(evaluation, protocol=protocol), HOSTILE))
    assert_self_contained(page)
    assert page.text.count(HOSTILE) >= 4


def test_protocols_without_average_precision_have_a_report(
    model: ReIDModel, figure_data: ReIDDataset, evaluation: Evaluation
) -> None:
    data = replace(figure_data, protocol=Protocol(gallery_shots="single", repeats=2, has_map=False))
    page = Page(evaluation_page(evaluate(model, data), "m"))
    assert "Rank 1" in page.text
    assert "mINP" not in page.text
    assert not any(a.get("class") == "example" for _, a in page.tags)
    reranked = evaluate(model, figure_data, rerank=True)
    assert "k-reciprocal" in Page(evaluation_page(reranked, "m")).text


def test_one_person_alone_has_no_score_histogram(model: ReIDModel, tmp_path: Path) -> None:
    query, match = (write_image(tmp_path / f"{c}.png", draw_figure(1, c, 0)) for c in (1, 2))
    data = ReIDDataset("one", tmp_path, (), (Sample(query, 1, 1),), (Sample(match, 1, 2),))
    page = Page(evaluation_page(evaluate(model, data), "m"))
    assert sum(tag == "svg" for tag, _ in page.tags) == 1
