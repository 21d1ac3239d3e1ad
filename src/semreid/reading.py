"""Reading files that users bring: bounded before they are parsed, checked against a schema, every fault named.

Parsers raise whatever they like at damaged or hostile files. Here all of it becomes the one error that names the file.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from semreid.errors import SemreidError

COPY_AGAIN = "copy or make the file again"
MOST_TEXT = 64 * 2**20
"""Bytes of a JSON file; a card has some thousand."""
MOST_YAML = 2**18
MOST_NODES = 10_000
"""Bytes of a YAML file, and values in it once its aliases are unfolded: a recipe has about a hundred."""
MOST_ARRAY = 256 * 2**20
"""Bytes of an array, in its file and in memory."""
T = TypeVar("T")
Object: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
"""Any JSON object."""


@contextlib.contextmanager
def reading(name: Path | str, fix: str = COPY_AGAIN, fault: str = "is damaged or of another kind") -> Iterator[None]:
    """Turn whatever goes wrong inside into the error that names the file.

    Args:
        name: The file, or what else is read.
        fix: The way out.
        fault: What a parser's complaint means.

    Raises:
        SemreidError: For everything that is raised inside.

    Example:
        >>> with reading("card.json"):
        ...     {}["versions"]
        Traceback (most recent call last):
        semreid.errors.SemreidError: card.json is damaged or of another kind: 'versions' is missing
          way out: copy or make the file again
    """
    try:
        yield
    except SemreidError:
        raise
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SemreidError(f"{name}: {f'{where!r}: ' if where else ''}{first['msg']}", fix=fix) from error
    except PermissionError as error:
        raise SemreidError(f"cannot read {name}: {os.strerror(errno.EACCES)}", fix="check its permissions") from error
    except Exception as error:
        raise SemreidError(f"{name} {fault}: {_reason(error)}", fix=fix) from error


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """Read a regular file that is not longer than expected.

    Raises:
        SemreidError: If there is none, it cannot be read, is no regular file, or is longer.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        content = b""
        if regular:
            with path.open("rb") as file:
                content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise SemreidError(f"cannot read {brief(path)}: {_reason(error)}", fix="check the name") from error
    if not regular:  # of a pipe nobody would ever see the end
        raise SemreidError(f"{path} is no regular file", fix="give the path of a file")
    if len(content) > most:
        raise SemreidError(f"{path} is longer than {most:,} bytes: it is something else", fix="check the name")
    return content


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a text as spreadsheets, shells and trackers write it: UTF-8, with a mark or without, or UTF-16.

    UTF-16 is known by its mark, or by the zero that one of the first two bytes is where a text begins in Latin letters.
    Ends of lines are left as they are.

    Raises:
        OSError: If it cannot be read.
    """
    file = path.open("rb")
    start = file.peek(2)[:2]
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    elif b"\0" in start:
        encoding = "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    return io.TextIOWrapper(file, encoding, newline="")


def separator(file: TextIO) -> str:
    """Tell what separates the cells of a table: comma, semicolon or tab, whichever its first line has most of."""
    header = file.readline()
    file.seek(0)
    return max(",;\t", key=header.count)


def table_rows(file: TextIO) -> csv.DictReader[str]:
    """Read the rows of a table with a header, whose names are told in small letters.

    Cells are separated as `separator` tells; blanks before them do not count.
    """
    reader = csv.DictReader(file, delimiter=separator(file), skipinitialspace=True, strict=True)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    return reader


def parse_json(content: bytes | str, shape: TypeAdapter[T], name: Path | str, fix: str = COPY_AGAIN) -> T:
    """Read JSON of a known shape.

    Raises:
        SemreidError: If it is no JSON (NaN is none), or not of this shape.

    Example:
        >>> parse_json('{"a": 1}', Object, "card.json")
        {'a': 1}
    """
    with reading(name, fix):
        return shape.validate_python(json.loads(content, parse_constant=_no_number))


def read_json(path: Path, shape: TypeAdapter[T], fix: str = COPY_AGAIN, most: int = MOST_TEXT) -> T:
    """Read a JSON file of a known shape.

    Raises:
        SemreidError: If it cannot be read, is no JSON, or not of this shape.
    """
    return parse_json(read_bytes(path, most), shape, path, fix)


def parse_yaml(text: bytes | str, name: Path | str, fix: str = "") -> Any:  # noqa: ANN401 - whatever YAML holds
    """Read YAML, of which no line is executed and no alias unfolds to more than a document of this size could hold.

    Returns:
        Plain values.

    Raises:
        SemreidError: If it is no YAML, or too much of it.

    Example:
        >>> parse_yaml("{base: &b {lr: 0.1}, again: *b}", "recipe.yaml")["again"]
        {'lr': 0.1}
    """
    with reading(name, fix, "is not YAML"):
        if len(text) > MOST_YAML:
            raise SemreidError(f"{name} is longer than {MOST_YAML:,} bytes: it is something else", fix=fix)
        loader = _Bounded(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()


class _Bounded(yaml.SafeLoader):
    """Counts the values as a reader of the result meets them: an alias is as many as what it stands for."""

    def __init__(self, text: bytes | str) -> None:
        super().__init__(text)
        self.count = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        before, alias = self.count, self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if alias:
            self.count += self.sizes.get(id(node), MOST_NODES)  # inside of itself it never ends
        else:
            self.count += 1
            self.sizes[id(node)] = self.count - before
        if self.count > MOST_NODES:
            raise yaml.YAMLError(f"it holds more than {MOST_NODES:,} values, aliases unfolded")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 - its type has no name
        """Refuse a key that is there twice, of which YAML readers keep the last: YAML allows it once."""
        node = super().compose_mapping_node(anchor)
        keys: dict[tuple[str, str], yaml.Node] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (first := keys.setdefault((key.tag, key.value), key)) is not key:
                lines = [each.start_mark.line + 1 for each in (first, key)]
                raise yaml.YAMLError(f"the key '{key.value}' is there twice, in lines {lines[0]} and {lines[1]}")
        return node


def read_array(path: Path) -> NDArray[Any]:
    """Read an array that NumPy wrote, after a look at how large it says it is.

    Args:
        path: An ``.npy`` file, or an ``.npz`` file, of which the first array is read.

    Raises:
        SemreidError: If the file cannot be read, holds no array or Python objects, or is too large.
    """
    content = read_bytes(path, MOST_ARRAY)
    with reading(path), contextlib.ExitStack() as stack:
        file: Any = io.BytesIO(content)
        if zipfile.is_zipfile(file):
            archive = stack.enter_context(zipfile.ZipFile(file))
            if not archive.namelist():
                raise ValueError("it holds no array")
            file = stack.enter_context(archive.open(archive.namelist()[0]))
        else:
            file.seek(0)
        return _array(file)


def _array(file: Any) -> NDArray[Any]:  # noqa: ANN401 - anything to read bytes from
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, kind = header(file)
    if not 0 <= np.prod(shape, dtype=object) * kind.itemsize <= MOST_ARRAY:
        raise ValueError(f"an array of {shape} values of type {kind}")
    file.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _reason(error: Exception) -> str:
    """What a parser says, in a line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it announces more than fits into memory"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    said = getattr(error, "strerror", None) or " ".join(str(error).split())
    return brief(said or type(error).__name__)


def brief(text: object) -> str:
    """Cut what would fill the screen."""
    return text if len(text := str(text)) <= 500 else f"{text[:500]}…"
