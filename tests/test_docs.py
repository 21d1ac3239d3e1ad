"""Commands and code in README and docs are run as a reader would run them."""

import contextlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from semreid.cli import app
from semreid.models import shipped
from tests.conftest import draw_figure, write_image

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SHIPPED = shipped.FOLDER
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, packed: Path) -> Path:
    """Where a reader has followed the README: crops of people, the recipes, and what its commands leave."""
    place = tmp_path_factory.mktemp("reader")
    for pid in range(80):
        for camid in (1, 2):
            for image in (1, 2):
                name = f"crops/person{pid:03d}/{image:04d}_c{camid}.png"
                write_image(place / name, draw_figure(pid, camid, image))
    (place / "recipes").symlink_to(ROOT / "recipes")
    with contextlib.chdir(place), pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "FOLDER", packed)
        assert follow(README) >= 7
    return place


def follow(page: Path) -> int:
    """Run all that a page shows, commands first; return how many commands there were."""
    rng = np.random.default_rng(0)
    names = {"query": rng.normal(size=(4, 8)), "gallery": rng.normal(size=(30, 8))}
    names |= {"q_pids": [1, 2, 1, 2], "g_pids": [1, 2] * 15, "q_camids": [0] * 4, "g_camids": [1] * 30}
    lines = [line for block in blocks(page, "bash") for line in block.splitlines() if not line.startswith("make ")]
    for line in lines:  # the suite itself runs under make test; demo has a test of its own
        run_line(line.partition("#")[0])
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), dict(names))
    return len(lines)


def run_line(line: str) -> None:
    """Run a command of ours; training goes on from what really ships, and is cut short as any reader could do it."""
    words = line.split()
    assert words[0] == "semreid", line
    with pytest.MonkeyPatch.context() as patch:
        if words[1] == "train":
            words = [*(word for word in words if not word.startswith("schedule.epochs=")), "schedule.epochs=1"]
            patch.setattr(shipped, "FOLDER", SHIPPED)
        result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


@pytest.mark.timeout(400)  # those of the README come first
@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_commands_and_python_of_the_pages_run(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    follow(page)


def anchors(page: Path) -> set[str]:
    """What `#…` may follow the name of a page: its headings, as GitHub and the site spell them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [README, CONTRIBUTING, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        to = (page.parent / name).resolve() if name else page
        assert to.exists(), target
        assert not anchor or anchor in anchors(to), target


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=lambda page: page.stem)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [name for block in blocks(page, "bash") for name in re.findall(r"^make (\w+)", block, re.MULTILINE)]
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# --- pointers of code to pages, and of pages to code ---------------------------------------------------------------

ROOMS = ("src", "benchmarks", "tests", "recipes")
ELSEWHERE = re.compile(r"\b(protocols|magnifiernet|san|pmm) sheet|\bsheet,? (section|[a-z]?\.?\d)|§", re.IGNORECASE)
"""Papers of ours that no reader has, and their sections."""


def lost_pointers(text: str) -> list[str]:
    """What a text points to that is not there for whoever has the repository only."""
    pages = re.findall(r"\bdocs/([\w/-]+\.\w+)(?:#([\w-]+))?", text)
    found = [(f"docs/{name}#{anchor}", ROOT / "docs" / name, anchor) for name, anchor in pages]
    lost = [whole for whole, page, anchor in found if not page.exists() or (anchor and anchor not in anchors(page))]
    return lost + [match[0] for match in ELSEWHERE.finditer(text)]


def test_pointers_of_the_code_lead_somewhere() -> None:
    files = [f for room in ROOMS for f in sorted((ROOT / room).rglob("*"))]
    files = [f for f in files if f.suffix in {".py", ".yaml", ".html"} and f != Path(__file__)]
    texts = {f: f.read_text(encoding="utf-8") for f in files}
    assert sum("docs/" in text for text in texts.values()) > 20
    assert {str(f): lost for f, text in texts.items() if (lost := lost_pointers(text))} == {}


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("as in docs/protocols.md#re-ranking", []),
        ("the sheets of a workbook; a contact sheet", []),
        ("as in docs/protocol.md", ["docs/protocol.md#"]),
        ("as in docs/protocols.md#ranking-again.", ["docs/protocols.md#ranking-again"]),
        ("as in the protocols sheet, section 3", ["protocols sheet"]),
        ("(MagnifierNet sheet A.6)", ["MagnifierNet sheet"]),
        ("sheet 2.3, and §4", ["sheet 2", "§"]),
    ],
)
def test_a_pointer_that_leads_nowhere_is_found(text: str, lost: list[str]) -> None:
    assert lost_pointers(text) == lost


@pytest.mark.parametrize("page", [README, CONTRIBUTING, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    there = [f"/{f.relative_to(ROOT)}" for room in ROOMS for f in (ROOT / room).rglob("*")]
    for name in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|yaml))`", page.read_text(encoding="utf-8")):
        assert any(path.endswith(f"/{name}") for path in there), name


def test_the_glossary_is_short_and_names_modules_that_are_there() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    assert len(lines) <= 60
    rows = [line.split(" | ") for line in lines if line.startswith("| ")][2:]
    places = [name for row in rows for name in re.findall(r"`([\w.]+)`", row[2])]
    assert len(places) >= len(rows)
    assert [name for name in places if importlib.util.find_spec(f"semreid.{name}") is None] == []


def test_the_page_of_the_models_says_what_their_cards_say() -> None:
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    folder = ROOT / "src/semreid/shipped"
    for name in shipped.USES:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        file = folder / f"{name}.json"
        assert ("not made yet" in row) is not file.is_file()
        if name in shipped.EMBEDDERS and file.is_file():
            facts = json.loads(file.read_text(encoding="utf-8"))["shipped"]
            rows = [_accuracy_row(name, found) for found in facts["accuracy"]]
            assert rows
            assert [row for row in rows if row not in page] == []
            assert facts["speed"] is not None


def _accuracy_row(name: str, found: dict[str, Any]) -> str:
    values = [(found["metrics"][metric], *found["ci95"][metric]) for metric in ("mAP", "rank1")]
    cells = [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in values]
    return " | ".join(["", f"`{name}`", found["data"], *cells, ""]).strip()
