import json
from pathlib import Path

import pytest

from semreid.errors import SemreidError
from semreid.files import atomic_path, require_writable, write_json, write_text


def test_writes_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "héllo")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "héllo"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_failure_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_path_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SemreidError, match="cannot write .*file/report.json") as caught:
        write_json(tmp_path / "file" / "report.json", {})
    assert "folder" in caught.value.fix


def test_whether_a_file_can_be_written_is_known_beforehand(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deep" / "a.json")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "file" / "a.json"):
        with pytest.raises(SemreidError, match="cannot write"):
            require_writable(target)


def test_json_round_trip_and_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()
