import pytest
from rich.table import Table

from semreid.console import draw, say, warn, write
from semreid.training.record import Reporter
from tests.conftest import launch


@pytest.mark.parametrize(("number", "told"), [(None, "hello\n"), ("0", "hello\n"), ("1", "")])
def test_of_processes_that_are_not_joined_the_first_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: str | None, told: str
) -> None:
    """Before they join, and when an error has parted them, none of them is known to `torch.distributed`."""
    if number is not None:
        launch(monkeypatch, number)
    say("hello")
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("name", ["[/x]", "[bold]a[/bold]", ":dog: 12:cat:30", "a\\[b"])
def test_names_of_users_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], name: str) -> None:
    write(name, name)
    table = Table(name, title=name)
    table.add_row(name)
    draw(table)
    say(name)
    warn(name, name)
    Reporter(1).say(name)
    told = capsys.readouterr()
    assert told.out.startswith(f"{name}\n{name}\n")
    assert told.out.count(name) == 5
    assert told.err == f"{name}\nwarning: {name}\nwarning: {name}\n{name}\n"


def test_a_table_that_goes_into_a_file_breaks_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    path = "folder/" * 40 + "crop.png"
    table = Table("path or id")
    table.add_row(path)
    draw(table)
    assert path in capsys.readouterr().out


def test_no_name_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[31m\x07\x9bb"
    table = Table(name)
    table.add_row(name)
    draw(table)
    write(name)
    warn(name)
    told = capsys.readouterr()
    assert not set("\x1b\x07\x9b") & set(told.out + told.err)
    assert told.out.count(r"a\x1b[31m\x07\x9bb") == 3
    assert told.err == "warning: a\\x1b[31m\\x07\\x9bb\n"
