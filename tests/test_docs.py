"""Commands and code in README and docs are run as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import draw_figure, write_image

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README asks for: crops of people, and the recipes."""
    place = tmp_path_factory.mktemp("reader")
    for pid in range(80):
        for camid in (1, 2):
            for image in (1, 2):
                name = f"crops/person{pid:03d}/{image:04d}_c{camid}.png"
                write_image(place / name, draw_figure(pid, camid, image))
    (place / "recipes").symlink_to(ROOT / "recipes")
    return place


def run_line(line: str, place: Path) -> None:
    """Run a command of ours; training is cut short by an override that any reader could add."""
    words = line.split()
    assert words[0] == "semreid", line
    if words[1] == "train":
        words.append("schedule.epochs=1")
    command = [sys.executable, "-m", "semreid", *words[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.timeout(600)  # a process for every command of every page
def test_commands_and_python_of_the_pages_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(4, 8)), rng.normal(size=(30, 8))
    names = {"query": query, "gallery": gallery, "q_pids": [1, 2, 1, 2], "g_pids": [1, 2] * 15}
    names |= {"q_camids": [0] * 4, "g_camids": [1] * 30}
    ran = 0
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                if not line.startswith("make "):  # the suite itself runs under make test; demo has a test of its own
                    run_line(line.partition("#")[0], workplace)
                    ran += 1
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), dict(names))
    assert ran >= 7


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page}: {target}"


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks(ROOT / "README.md", "bash"):
        for target in re.findall(r"^make (\w+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE)
