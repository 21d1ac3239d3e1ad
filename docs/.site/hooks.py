"""What the site has beside the pages of docs/: README, CONTRIBUTING, and the API, a page for each room of the code."""

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "semreid"
TOP = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages of the site that stand at the root of the repository."""


def rooms() -> dict[str, list[str]]:
    """Modules of each page of the API: one for every package, and one for the modules that stand alone."""
    names = [".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in sorted(SOURCE.rglob("*.py"))]
    public = [name.removesuffix(".__init__") for name in names if not re.search(r"\._(?!_init__$)", name)]
    packages = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
    alone = [name for name in public if name.count(".") < 2 and name.partition(".")[2] not in packages]
    within = {name: [n for n in public if f"{n}.".startswith(f"semreid.{name}.")] for name in packages}
    return {"semreid": alone, **{f"semreid.{name}": modules for name, modules in within.items()}}


def on_config(config: MkDocsConfig) -> None:
    """Put the pages of the API into the navigation."""
    assert config.nav is not None
    config.nav.append({"API": [{name: f"api/{name}.md"} for name in rooms()]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not files of docs/."""
    for name, source in TOP.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=at_the_front(text)))
    for room, modules in rooms().items():
        files.append(File.generated(config, f"api/{room}.md", content=api_page(room, modules)))


def at_the_front(text: str) -> str:
    """Point a page of the root to the other pages of the root as the site has them."""
    for name, source in TOP.items():
        text = re.sub(rf"\]\({source}", f"]({name}", text)
    return text


def api_page(room: str, modules: list[str]) -> str:
    """Write the page of a room: every module of it, a package by its docstring and what it offers."""
    return "\n".join([f"# {room}\n", *map(described, modules)])


def described(module: str) -> str:
    """Ask for the description of a module; of a package, for what is its own, and list what it offers of others."""
    package = SOURCE.parent / module.replace(".", "/") / "__init__.py"
    if not package.exists():
        return f"::: {module}\n"
    tree = ast.parse(package.read_text(encoding="utf-8")).body
    own = [node.name for node in tree if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    links = [f"[`{name}`][{path}]" for name, path in sorted(imported(tree)) if path.startswith("semreid.")]
    offered = f"\nOffers {', '.join(links)}.\n" if links and "__all__" in package.read_text(encoding="utf-8") else ""
    return f"::: {module}\n    options: {{members: {own}}}\n{offered}"


def imported(tree: list[ast.stmt]) -> list[tuple[str, str]]:
    """Names that a file imports from modules, public ones only, and where they are defined."""
    nodes = [node for node in tree if isinstance(node, ast.ImportFrom)]
    found = [(name.name, f"{node.module}.{name.name}") for node in nodes for name in node.names]
    return [(name, path) for name, path in found if not name.startswith("_")]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to the README and to CONTRIBUTING to their pages here."""
    up = "../" * page.file.src_uri.count("/")
    for name, source in TOP.items():
        markdown = markdown.replace(f"](../{up}{source}", f"]({up}{name}")
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links of the pages that docstrings point to (docs/NAME.md#SECTION)."""
    if not page.url.startswith("api/"):
        return html
    return re.sub(r"docs/([\w/-]+)\.md(#[\w-]+)?", r'<a href="../\1.html\2">\g<0></a>', html)
