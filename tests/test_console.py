import pytest

from semreid.console import say


@pytest.mark.parametrize(("number", "told"), [(None, "hello\n"), ("0", "hello\n"), ("1", "")])
def test_of_processes_that_are_not_joined_the_first_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: str | None, told: str
) -> None:
    """Before they join, and when an error has parted them, none of them is known to `torch.distributed`."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if number is not None:
        monkeypatch.setenv("LOCAL_RANK", number)
    say("hello")
    assert capsys.readouterr().err == told
