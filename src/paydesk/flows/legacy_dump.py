"""Reads plain SQL dumps as text: what pg_dump, mysqldump and sqlite3's .dump write.

`CREATE TABLE` gives the columns, `COPY … FROM stdin` and `INSERT INTO` the rows. Nothing is
executed. A value that is no constant spoils its own row, not the dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

from paydesk.errors import InvalidRequest

_NAME = r"(?:[`\"\[]?[\w$]+[`\"\]]?\s*\.\s*)?[`\"\[]?([\w$]+)[`\"\]]?"
_COPY = re.compile(rf"COPY\s+{_NAME}\s*\(([^)]*)\)\s+FROM\s+stdin", re.IGNORECASE)
_INSERT = re.compile(
    rf"(?:INSERT(?:\s+(?:IGNORE|OR\s+\w+))?|REPLACE)\s+INTO\s+{_NAME}\s*(?:\(([^)]*)\))?"
    r"\s*(?:OVERRIDING\s+\w+\s+VALUE\s*)?VALUES?\s*",
    re.IGNORECASE,
)
_CREATE = re.compile(rf"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*\(", re.IGNORECASE)
_MYSQL = re.compile(r"^-- (?:MySQL|MariaDB) dump|/\*!\d{5}|\bENGINE\s*=|INSERT INTO `", re.M)
_SQLITE = re.compile(r"^PRAGMA foreign_keys", re.M)
#: What begins a line of a table's definition and names no column.
_NO_COLUMN = frozenset({"primary", "unique", "key", "index", "constraint", "foreign", "check",
                        "fulltext", "spatial", "exclude", "like"})  # fmt: skip
#: A quoted text: where the backslash escapes, and where only a doubled quote does.
_ESCAPED = r"'(?:[^'\\]++|\\.|'')*+'"
_PLAIN = r"'(?:[^']++|'')*+'"
_VALUE = (
    r"\s*(?:(?P<null>NULL)\b|(?P<word>TRUE|FALSE)\b|(?P<number>[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?)"
    r"|(?P<escaped>{escaped})|(?P<plain>{plain}))"
    r"\s*(?:::\s*[\w\s.\"\[\]]+?)?\s*(?P<end>[,)])"
)
_OF_MYSQL = re.compile(
    _VALUE.format(escaped=rf"N?{_ESCAPED}", plain=r"(?!)"), re.IGNORECASE | re.DOTALL
)
_OF_OTHERS = re.compile(
    _VALUE.format(escaped=rf"E{_ESCAPED}", plain=_PLAIN), re.IGNORECASE | re.DOTALL
)
#: A call of sqlite3's, for texts with line breaks and other signs.
_CALL = re.compile(r"\s*(replace|char|unistr)\s*\(", re.IGNORECASE)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "0": "", "Z": ""}
_COPY_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
#: SQLite writes binary fractions with more digits than they hold.
_FIFTEEN = Context(prec=15)
#: One statement may be so long; dumps write a few megabytes into one.
MOST_STATEMENT = 256 * 1024 * 1024

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unread:
    """In place of a value: what stood there and is no constant."""

    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A row and the line of the dump it stands on; `problem`: why it cannot be read."""

    number: int | None
    row: Row
    problem: str | None = None


@dataclass(slots=True)
class _Statement:
    """`copied`: the lines that follow a COPY, to be read to their end."""

    text: str
    number: int
    copied: Iterator[tuple[int, str]] | None = None


@dataclass(slots=True)
class _Scanner:
    """Follows quotes and comments over lines, to know where a statement ends."""

    is_mysql: bool
    inside: str | None = None
    parts: list[str] = field(default_factory=list)
    is_over: bool = False

    def feed(self, line: str) -> None:
        """Take a line in, without its comments; `is_over` says whether it ends a statement."""
        position, begin = 0, 0
        while True:
            if self.inside is not None:
                end = self._close(line, position)
                if end < 0:
                    break
                if self.inside == "/*":
                    begin = end
                position, self.inside = end, None
                continue
            match = _SPECIAL.search(line, position)
            if match is None:
                break
            token, start = match.group(), match.start()
            position = match.end()
            if token == "--" or (token == "#" and self.is_mysql):
                self.parts.append(line[begin:start] + "\n")
                self._end()
                return
            if token == "/*":
                self.parts.append(line[begin:start])
                begin, self.inside = position, token
            elif token == "'":
                is_escaped = self.is_mysql or _E_BEFORE.search(line, 0, position) is not None
                self.inside = "\\'" if is_escaped else token
            elif token in '"`' or (token[0] == "$" and not self.is_mysql):
                self.inside = token
        if self.inside != "/*":
            self.parts.append(line[begin:])
        elif line.endswith("\n"):
            self.parts.append("\n")
        self._end()

    def _close(self, line: str, position: int) -> int:
        assert self.inside is not None
        if self.inside == "\\'":
            match = _TO_QUOTE.match(line, position)
            return match.end() if match else -1
        word = "*/" if self.inside == "/*" else self.inside
        found = line.find(word, position)
        return found + len(word) if found >= 0 else -1

    def _end(self) -> None:
        self.is_over = self.inside is None and "".join(self.parts[-2:]).rstrip().endswith(";")

    @property
    def is_blank(self) -> bool:
        """Whether nothing but comments was taken in."""
        return (
            self.inside is None and len(self.parts) < 4 and not "".join(self.parts).strip()
        )

    def take(self) -> str:
        text = "".join(self.parts)
        self.parts, self.is_over = [], False
        return text


_SPECIAL = re.compile(r"'|\"|`|--(?=\s|\Z|[^>\d])|/\*|#|\$\w*\$")
_E_BEFORE = re.compile(r"(?<!\w)E'\Z", re.IGNORECASE)
_TO_QUOTE = re.compile(r"(?:[^'\\]++|\\.)*+'", re.DOTALL)


class DumpSource:
    """Tables of a plain SQL dump."""

    def __init__(self, path: Path) -> None:
        self.name = f"dump:{path.name}:{path.stat().st_size}"
        self._path = path
        with path.open("rb") as file:
            head = file.read(65536)
        if head[:5] == b"PGDMP" or head[:2] == b"\x1f\x8b":
            raise InvalidRequest(
                "The dump must be plain SQL: pg_dump without -Fc, or unpacked.", param="source"
            )
        if head.startswith(b"SQLite format 3"):
            raise InvalidRequest(
                "This is a SQLite database: write its dump with sqlite3 FILE .dump > old.sql.",
                param="source",
            )
        text = head.decode("utf-8", errors="replace")
        self._is_mysql = _MYSQL.search(text) is not None
        self._is_sqlite = not self._is_mysql and _SQLITE.search(text) is not None
        self._value = _OF_MYSQL if self._is_mysql else _OF_OTHERS
        self._columns: dict[str, list[str]] | None = None
        self._counts: dict[str, int] = {}

    def columns(self) -> dict[str, list[str]]:
        """Table -> its columns in lower case. Reads from end to end once, and counts the rows."""
        if self._columns is None:
            found: dict[str, list[str]] = {}
            for statement in self._statements():
                self._take_in(statement, found)
            self._columns = found
        return self._columns

    def _take_in(self, statement: _Statement, found: dict[str, list[str]]) -> None:
        table, columns, count = None, [], 0
        if statement.copied is not None:
            match = _COPY.match(statement.text)
            assert match is not None
            table, columns = match.group(1), _names(match.group(2))
            count = sum(1 for _ in statement.copied)
        elif match := _CREATE.match(statement.text):
            table, columns = match.group(1), _defined(statement.text[match.end() :])
        elif match := _INSERT.match(statement.text):
            table, columns = match.group(1), _names(match.group(2)) if match.group(2) else []
            count = sum(1 for _ in self._tuples(statement, match.end()))
        if table is not None:
            if columns or table not in found:
                found.setdefault(table, columns)
            self._counts[table] = self._counts.get(table, 0) + count

    def count(self, table: str) -> int | None:
        self.columns()
        return self._counts.get(table, 0)

    def rows(self, table: str, skip: int = 0) -> Iterator[Line]:
        known, left = self.columns(), skip
        for statement in self._statements():
            match = (_COPY if statement.copied is not None else _INSERT).match(statement.text)
            if match is None or match.group(1) != table:
                continue
            columns = _names(match.group(2)) if match.group(2) else known.get(table, [])
            found = (
                self._tuples(statement, match.end())
                if statement.copied is None
                else ((at, [_copied(v) for v in line.split("\t")]) for at, line in statement.copied)
            )
            for number, values in found:
                if left:
                    left -= 1
                    continue
                yield _line(number, columns, values)

    def close(self) -> None:
        """Nothing is held open."""

    def _statements(self) -> Iterator[_Statement]:
        """Whole statements, without comments, and the lines on which they begin."""
        scanner, begun, size = _Scanner(self._is_mysql), 0, 0
        # A byte that is no UTF-8 spoils the row it stands in.
        with self._path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            numbered = enumerate(file, 1)
            for number, line in numbered:
                if not scanner.parts and scanner.inside is None:
                    bare = line.strip()
                    if not bare or bare.startswith(("--", "\\")):
                        continue
                    if _COPY.match(bare):
                        copied = _copy_lines(numbered)
                        yield _Statement(bare, number, copied)
                        for _ in copied:  # Whatever of it nobody wanted.
                            pass
                        continue
                    begun, size = number, 0
                scanner.feed(line)
                size += len(line)
                if size > MOST_STATEMENT:
                    raise InvalidRequest(
                        f"The statement on line {begun} has no end.", param="source"
                    )
                if scanner.is_over:
                    text = scanner.take()
                    bare = text.lstrip()
                    yield _Statement(bare, begun + text[: len(text) - len(bare)].count("\n"))
                elif scanner.is_blank:
                    scanner.take()

    def _tuples(self, statement: _Statement, position: int) -> Iterator[tuple[int, list[Any]]]:
        """The line and the values of each row of an INSERT."""
        text, number, counted = statement.text, statement.number, 0
        while True:
            start = text.find("(", position)
            if start < 0 or text[position:start].strip() not in ("", ","):
                return
            number, counted = number + text.count("\n", counted, start), start
            values, position, end = [], start + 1, ","
            while end == ",":
                value, position, end = self._read(text, position)
                values.append(value)
            yield number, values

    def _read(self, text: str, position: int) -> tuple[Any, int, str]:
        """A value, where it ends, and by what: a comma, a bracket, or nothing."""
        match = self._value.match(text, position)
        if match is not None:
            return self._constant(match), match.end(), match.group("end")
        end = _end_of_value(text, position, self._is_mysql)
        said = text[position:end].strip()
        return _called(said), end + 1, text[end : end + 1] or ")"

    def _constant(self, match: re.Match[str]) -> Any:
        if match["null"]:
            return None
        if match["word"]:
            return match["word"].lower() == "true"
        if match["number"]:
            digits = match["number"]
            if self._is_sqlite and len(digits) > 16 and "." in digits:
                return format(_FIFTEEN.create_decimal(Decimal(digits)), "f")
            return digits
        if match["plain"]:
            return match["plain"][1:-1].replace("''", "'")
        body = match["escaped"][match["escaped"].index("'") + 1 : -1].replace("''", "'")
        return _unescaped(body, _ESCAPES)


def _line(number: int, columns: list[str], values: list[Any]) -> Line:
    row = dict(zip(columns, values, strict=False))
    if len(values) != len(columns):
        return Line(number, row, f"It has {len(values)} values for {len(columns)} columns.")
    for name, value in row.items():
        if isinstance(value, Unread):
            return Line(number, row, f"{name} is no constant: {value.text[:60]}")
        if isinstance(value, str) and not value.isascii() and _is_broken(value):
            return Line(number, row, f"{name} is not UTF-8.")
    return Line(number, row)


def _is_broken(value: str) -> bool:
    return any("\udc80" <= char <= "\udcff" for char in value)


def _copy_lines(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, line in numbered:
        line = line.rstrip("\r\n")
        if line == "\\.":
            return
        yield number, line


def _end_of_value(text: str, position: int, is_mysql: bool) -> int:
    """Where the comma or bracket stands that ends an expression."""
    depth, quoted = 0, _TO_QUOTE if is_mysql else _TO_PLAIN_QUOTE
    while position < len(text):
        char = text[position]
        if char == "'":
            match = quoted.match(text, position + 1)
            position = match.end() if match else len(text)
            continue
        if depth == 0 and char in ",)":
            return position
        depth += {"(": 1, ")": -1}.get(char, 0)
        position += 1
    return position


_TO_PLAIN_QUOTE = re.compile(r"[^']*+'")


def _called(said: str) -> Any:
    """The value of one of sqlite3's calls around a text; Unread for all else."""
    match = _CALL.match(said)
    if match is None:
        whole = re.fullmatch(_PLAIN, said, re.DOTALL)
        if whole:
            return said[1:-1].replace("''", "'")
        return Unread(said)
    parts, position = [], match.end()
    while True:
        end = _end_of_value(said, position, False)
        parts.append(_called(said[position:end].strip()))
        position = end + 1
        if end >= len(said) or said[end] == ")":
            break
    if said[position:].strip():  # More than the call stands there.
        return Unread(said)
    name = match.group(1).lower()
    if name == "char" and len(parts) == 1 and isinstance(parts[0], Unread):
        digits = parts[0].text
        return chr(int(digits)) if digits.isdecimal() and int(digits) < 0x110000 else Unread(said)
    if not all(isinstance(part, str) for part in parts):
        return Unread(said)
    if name == "replace" and len(parts) == 3:
        return parts[0].replace(parts[1], parts[2])
    if name == "unistr" and len(parts) == 1:
        return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(\\))",
                      lambda m: chr(int(m[1], 16)) if m[1] else "\\", parts[0])  # fmt: skip
    return Unread(said)


def _names(text: str) -> list[str]:
    return [one.strip().strip('`"[]').lower() for one in text.split(",")]


def _defined(body: str) -> list[str]:
    """The columns of a table's definition."""
    names, depth, start = [], 0, 0
    bare = re.sub(_ESCAPED, "''", body, flags=re.DOTALL)
    for position, char in enumerate(bare):
        if char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif (char == "," and depth == 0) or char == ")":
            part = bare[start:position].split()
            start = position + 1
            if part and part[0].strip('`"').lower() not in _NO_COLUMN:
                names.append(part[0].strip('`"[]').lower())
            if char == ")":
                break
    return names


def _copied(value: str) -> str | None:
    if value == "\\N":
        return None
    return _unescaped(value, _COPY_ESCAPES)


def _unescaped(text: str, escapes: dict[str, str]) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\(.)", lambda m: escapes.get(m.group(1), m.group(1)), text, flags=re.DOTALL)
