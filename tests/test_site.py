"""The site has every page and every public module; dead links and bad docstrings are found by `make docs` itself."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / ".site" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation(hooks: ModuleType) -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} | set(hooks.TOP)
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"(?:: |- )([\w/-]+\.md)$", nav, re.MULTILINE)
    assert sorted(listed) == sorted(pages)


def test_every_public_module_is_on_one_page(hooks: ModuleType) -> None:
    pages = hooks.rooms()
    listed = [module for modules in pages.values() for module in modules]
    assert len(listed) == len(set(listed)) > 100
    assert {"semreid", "semreid.cli"} <= set(pages["semreid"])
    assert {"semreid.functional", "semreid.functional.ranking"} <= set(pages["semreid.functional"])
    assert "semreid.data.benchmarks.msmt17" in pages["semreid.data"]
    files = [path for path in (ROOT / "src" / "semreid").rglob("*.py") if not re.match(r"_(?!_init__)", path.name)]
    assert len(listed) == len(files)


def test_a_package_shows_what_is_its_own_and_lists_the_rest(hooks: ModuleType) -> None:
    assert hooks.described("semreid.functional.ranking") == "::: semreid.functional.ranking\n"
    functional = hooks.described("semreid.functional")
    assert functional.startswith("::: semreid.functional\n    options: {members: []}\n")
    assert "[`rank_features`][semreid.functional.ranking.rank_features]" in functional
    assert "load_dataset" in hooks.described("semreid.data.benchmarks").splitlines()[1]


def test_links_to_the_root_of_the_repository_become_links_to_its_pages(hooks: ModuleType) -> None:
    text = "[a](CONTRIBUTING.md), [b](docs/data.md#benchmarks), [c](https://example.org/README.md)"
    assert hooks.at_the_front(text.replace("](docs/", "](")) == (
        "[a](contributing.md), [b](data.md#benchmarks), [c](https://example.org/README.md)"
    )


def test_nothing_of_the_site_comes_from_elsewhere() -> None:
    """Fonts are those of the reader's system, and the one script that the theme would fetch lies beside it."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(r"^  font: false$", settings, re.MULTILINE)
    assert (ROOT / "docs" / "assets" / "iframe-worker.js").exists()
    assert re.search(r"polyfills: \[assets/iframe-worker\.js\]", settings)
    assert "://" not in (ROOT / "docs" / "assets" / "site.css").read_text(encoding="utf-8")
