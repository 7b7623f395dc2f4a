"""Tables of measurements as they lie in files: headers, units and cells, nothing interpreted."""

import csv
import glob
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ..rates import CONDITIONS
from .files import opened

__all__ = ["EXPERIMENT", "Cells", "Table", "decimal", "instants", "numbers", "read_tables"]

EXPERIMENT = (
    *("run", "experiment", "experiments", "exp", "expt", "series", "case", "cases", "id"),
    *("sample", "trial", "batch"),
)
"""What a column, or a dimension, that tells experiments apart is called."""

_SUFFIXES = (".csv", ".tsv", ".nc")
"""The files of a folder that are tables; others are read where they are named."""

_GAPS = {
    *("", "n.d.", "nd", "n.d", "nan", "na", "n.a.", "n/a", "#n/a", "-", "--", "---", "\N{EN DASH}"),
    *("\N{EM DASH}", "missing", "null", "none", ".", "..", "...", "?", "<na>"),
}
_BELOW = re.compile(
    r"<\s*(?:[-+\d.,eE]+|d\.?l\.?|l\.?o\.?[dq]\.?|mdl|bg)|b\.?[dlq]\.?l?\.?[oq]?\.?[lq]?\.?|l\.?o\.?[dq]\.?|below.*",
    re.IGNORECASE,
)
_MARKS = re.compile(r"-9{3,}(?:\.0*|\.9+)?")
"""Numbers that stand for a gap in files of instruments."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")
_COMMA = re.compile(r"<?\s*[-+]?\d*,\d+(?:[eEdD][-+]?\d+)?")
_POINT = re.compile(r"<?\s*[-+]?\d*\.\d+(?:[eEdD][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:[,.' \u00a0\u2009\u202f]\d{3})+(?:[.,]\d+)?")
_DATE = re.compile(
    r"(?P<date>\d{4}-\d\d?-\d\d?)?(?:(?P<gap>[T ]\s*)?(?P<clock>\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?)"
    r"\s*(?P<zone>Z|UTC|[-+]\d\d:?\d\d)?)?"
)
_MINUS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-"})


class Table(NamedTuple):
    """One file.

    Attributes:
        file: its name, for messages.
        headers: of the columns.
        units: of the columns, where a row under the headers or an attribute gives one, or nothing.
        columns: the cells, text or numbers, all of the same length.
        lines: where each row stands in the file; for arrays, its number.
        separator: of the cells in a line, nothing for arrays.
        notes: what was done in reading it.
    """

    file: str
    headers: tuple[str, ...]
    units: tuple[str, ...]
    columns: tuple[Sequence[str] | np.ndarray, ...]
    lines: np.ndarray
    separator: str = ""
    notes: tuple[str, ...] = ()

    def fail(self, column: int, message: str, row: int | None = None) -> ValueError:
        """An error that names the file, the column and perhaps the line."""
        line = "" if row is None else f", line {self.lines[row]}"
        return ValueError(f"{self.file}{line}, column {self.headers[column]!r}: {message}")


class Cells(NamedTuple):
    """The numbers of a column.

    Attributes:
        values: [rows], nan where there is none.
        below: [rows] where the cell says that the reading is below the limit of detection.
        marks: numbers that count as gaps, as ``-9999``.
    """

    values: np.ndarray
    below: np.ndarray
    marks: tuple[str, ...]


def read_tables(path: str | Path | Sequence[str | Path]) -> list[tuple[Path, Table]]:
    """Reads tables of text or NetCDF; a folder or a pattern stands for its files, by name.

    Text is of any separator (tab, semicolon, comma, blanks), with lines of comment (``#``), a
    header, and perhaps a row of units under it. Of NetCDF every variable along a time, an
    experiment or both is a column, and so is each species of what `jaxchem.write` makes.

    Raises:
        ValueError: no such file; one that is no table, with the line.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    files = [file for one in paths for file in _files(Path(one))]
    if not files:
        raise ValueError("no file of measurements is named; give a .csv or .nc file.")
    if len(set(files)) < len(files):
        twice = next(file for file in files if files.count(file) > 1)
        raise ValueError(f"{twice} is named twice; name it once.")
    return [(f, (_read_netcdf if f.suffix == ".nc" else _read_text)(f)) for f in files]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not found:
            raise ValueError(f"folder {path} has no {', '.join(_SUFFIXES)} file; name the files.")
        return found
    if path.is_file():
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path)))
    if not found:
        raise ValueError(f"no file of measurements {path}; give an existing .csv or .nc file.")
    return found


def _read_text(path: Path) -> Table:
    text, notes = _decoded(path)
    comments: list[tuple[int, str]] = []
    kept: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            if not kept:
                comments.append((number, line.lstrip().lstrip("#").strip(" ")))
        elif line.strip():
            kept.append((number, line))
    if not kept:
        raise ValueError(f"{path}: no row; a table has a header and a row a time.")
    separator = _separator([line for _, line in kept])
    try:
        rows = _split(kept, separator)
    except csv.Error as error:
        raise ValueError(f"{path}: not readable as a table ({error}).") from error
    units: list[str] | None = None
    if any(_is_value(cell) for cell in rows[0][1]):  # the header is the last comment
        above = [row for row in _split(comments, separator) if len(row[1]) == len(rows[0][1])]
        if not above:
            raise ValueError(
                f"{path}, line {rows[0][0]}: there is no header above the first row of numbers; "
                "write one, a name and a unit a column, as 'time [min]'."
            )
        if len(above) > 1 and above[-2][0] == above[-1][0] - 1:
            units = above.pop()[1]
        rows.insert(0, above[-1])
    header = rows.pop(0)[1]
    if not rows:
        raise ValueError(f"{path}: there is no row under the header; give one a time.")
    if units is None and _is_units(rows):
        units = rows.pop(0)[1]
    for line, row in rows:
        if not any(row[len(header) :]):  # a separator at the end of the line
            del row[len(header) :]
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(row)} values under {len(header)} column names. Begin "
                "lines of text with '#', and leave the cell of a gap empty."
            )
    rows = [(line, row) for line, row in rows if any(row)]
    columns = list(zip(*(row for _, row in rows), strict=True)) or [()] * len(header)
    units = [_unbracketed(unit) for unit in units or [""] * len(header)]
    kept_ = [i for i, name in enumerate(header) if name or any(columns[i])]
    return Table(
        str(path),
        tuple(header[i] for i in kept_),
        tuple(units[i] for i in kept_),
        tuple(columns[i] for i in kept_),
        np.array([line for line, _ in rows], dtype=int),
        separator,
        tuple(notes),
    )


def _decoded(path: Path) -> tuple[str, list[str]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error}).") from error
    try:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # spreadsheets' "Unicode text"
            return content.decode("utf-16"), []
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp1252"), [f"{path.name}: no UTF-8, read as Windows-1252"]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: neither UTF-8 nor Windows-1252 ({error}).") from None


def _split(lines: Sequence[tuple[int, str]], separator: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of each."""
    if separator == " ":
        wide = all(re.search(r"\S {2,}\S|\t", line) for _, line in lines[:3])
        gap = re.compile(r"\s{2,}" if wide else r"\s+")
        return [(number, gap.split(line.strip())) for number, line in lines]
    reader = csv.reader(
        (line + "\n" for _, line in lines), delimiter=separator, skipinitialspace=True
    )
    return [(lines[reader.line_num - 1][0], [cell.strip() for cell in row]) for row in reader]


def _separator(lines: list[str]) -> str:
    """The first of tab, semicolon and comma that divides header and rows alike, else blanks."""
    first, counts = lines[:4], {}
    for separator in ("\t", ";", ","):
        numbers_ = [len(next(csv.reader([line], delimiter=separator))) for line in first]
        counts[separator] = numbers_[0]
        if numbers_[0] > 1 and len(set(numbers_)) == 1:
            return separator
    blanks = {len(line.split()) for line in first}
    wide = {len(re.split(r"\s{2,}", line.strip())) for line in first}
    if min(len(blanks), len(wide)) == 1 and max(*blanks, *wide) > 1:
        return " "
    return max(counts, key=lambda s: counts[s])  # rows of unequal length are told by their line


def _is_value(cell: str) -> bool:
    """Whether a cell is a reading, rather than a word: a number, a date, or below detection."""
    plain = cell.translate(_MINUS)
    return bool(
        _NUMBER.fullmatch(plain)
        or _COMMA.fullmatch(plain)
        or _THOUSANDS.fullmatch(plain)
        or (plain and _DATE.fullmatch(plain))
        or cell.startswith("<")
    )


def _is_units(rows: list[tuple[int, list[str]]]) -> bool:
    """Whether the first row has words, where the next has readings, and no reading but a 1."""
    first = rows[0][1]
    if len(rows) < 2 or any(_is_value(cell) and cell != "1" for cell in first):
        return False
    words = [i for i, c in enumerate(first) if c.lower() not in _GAPS and not _is_value(c)]
    return any(_is_value(rows[1][1][i]) for i in words if i < len(rows[1][1]))


def _unbracketed(unit: str) -> str:
    return unit[1:-1].strip() if re.fullmatch(r"\[.*\]|\(.*\)", unit) else unit


def decimal(table: Table, columns: Iterable[int]) -> str:
    """The mark of decimals in these columns, a point or a comma.

    Raises:
        ValueError: both, or commas that may as well divide thousands.
    """
    commas: list[tuple[int, int]] = []
    points: list[tuple[int, int]] = []
    sure = table.separator == ";"
    for column in columns:
        cells = table.columns[column]
        if isinstance(cells, np.ndarray):
            continue
        for row, cell in enumerate(cells):
            if "," in cell and _COMMA.fullmatch(cell.translate(_MINUS)):
                commas.append((column, row))
                sure = sure or not _THOUSANDS.fullmatch(cell)
            elif not points and "." in cell and _POINT.fullmatch(cell.translate(_MINUS)):
                points.append((column, row))
    if not commas:
        return "."
    (column, row), cell = commas[0], table.columns[commas[0][0]][commas[0][1]]
    if points:
        other = table.lines[points[0][1]]
        raise table.fail(
            column,
            f"{cell!r} has a comma, where line {other} has a decimal point "
            f"({table.columns[points[0][0]][points[0][1]]!r}); write decimals with a point and "
            "thousands without a mark.",
            row,
        )
    if not sure:
        raise table.fail(
            column,
            f"{cell!r} may be thousands or decimals; write decimals with a point and thousands "
            "without a mark.",
            row,
        )
    return ","


def numbers(table: Table, column: int, mark: str = ".") -> Cells:
    """The numbers of a column.

    Raises:
        ValueError: a cell that is neither number nor gap, with its line.
    """
    cells = table.columns[column]
    below = np.zeros(len(cells), dtype=bool)
    if isinstance(cells, np.ndarray):
        try:
            values = cells.astype(float)
        except (TypeError, ValueError):
            raise table.fail(column, "its values are no numbers; take it as 'skip'.") from None
    else:
        try:
            values = np.array([float(cell) for cell in cells])
            slow = not np.all(np.isfinite(values)) or any("_" in cell for cell in cells)
        except ValueError:
            values, slow = np.empty(len(cells)), True
        if slow:
            known: dict[str, float | None] = {}
            for row, cell in enumerate(cells):
                if cell not in known:
                    known[cell] = _number(table, column, row, cell, mark)
                found = known[cell]
                values[row], below[row] = (np.nan, True) if found is None else (found, False)
    if np.any(infinite := np.isinf(values)):
        raise table.fail(column, "the value is infinite.", int(np.argmax(infinite)))
    low = np.unique(values[values <= -999.0])
    marks = [v for v in low if _MARKS.fullmatch(f"{v:.10g}")]
    others = values[~(np.isin(values, marks) | np.isnan(values))]
    marks = [v for v in marks if v < 10.0 * np.min(others, initial=0.0)]  # not one of a course
    values = np.where(np.isin(values, marks), np.nan, values)
    return Cells(values, below, tuple(f"{v:.10g}" for v in marks))


def _number(table: Table, column: int, row: int, cell: str, mark: str) -> float | None:
    """The number of a cell, nan for a gap, `None` below the limit of detection."""
    if cell.lower() in _GAPS:
        return np.nan
    plain = cell.translate(_MINUS)
    if mark == "," and _COMMA.fullmatch(plain):
        plain = plain.replace(",", ".")
    if _NUMBER.fullmatch(plain):
        return float(re.sub("[dD]", "e", plain))
    if _BELOW.fullmatch(plain):
        return None
    if _THOUSANDS.fullmatch(plain):
        why = "is no number; write thousands without a mark and decimals with a point."
    elif plain.startswith(">"):
        why = "is no reading but a bound; leave the cell empty."
    elif match := _NUMBER.match(plain):
        why = f"is no number: behind {match[0]!r} stands {plain[match.end() :].strip()!r}. Leave "
        why += "the number alone, or the cell empty."
    else:
        why = "is no number; leave the cell of a gap empty, or take the column as 'skip'."
    raise table.fail(column, f"{cell!r} {why}", row)


def instants(table: Table, column: int) -> tuple[np.ndarray, bool] | None:
    """Dates and times of day as [rows] whole microseconds, and whether they have dates.

    `None` where the cells are something else.

    Raises:
        ValueError: a cell that is no date or time where others are, with its line.
    """
    cells = table.columns[column]
    if isinstance(cells, np.ndarray):
        if cells.dtype.kind != "M":
            return None
        return cells.astype("datetime64[us]").astype(np.int64), True
    first = next((c for c in cells if c.lower() not in _GAPS), "")
    if not (first and re.search(r"\d[-/.:]\d", first)) or _NUMBER.fullmatch(first):
        return None
    if re.match(r"\d\d?[./-]\d\d?[./-]\d\d", first) or re.match(r"\d{4}/", first):
        raise table.fail(column, f"{first!r}: write dates as 2021-07-28 13:05:00.")
    found = np.empty(len(cells), dtype=np.int64)
    dated: set[bool] = set()
    known: dict[str, tuple[int, bool] | None] = {}
    for row, cell in enumerate(cells):
        if cell not in known:
            known[cell] = _instant(cell)
        instant = known[cell]
        if instant is None or len(dated | {instant[1]}) > 1:
            raise table.fail(
                column, f"{cell!r} is no time as the others ({first!r}); mend or drop the row.", row
            )
        found[row] = instant[0]
        dated.add(instant[1])
    return found, dated == {True}


def _instant(cell: str) -> tuple[int, bool] | None:
    match = _DATE.fullmatch(cell)
    if match is None or not (match["date"] or match["clock"]):
        return None
    if match["date"] and match["clock"] and not match["gap"]:
        return None
    clock, fraction = (match["clock"] or "0:00").replace(",", "."), ""
    clock, _, fraction = clock.partition(".")
    parts = [int(part) for part in clock.split(":")]
    micro = sum(p * s for p, s in zip(parts, (3600, 60, 1), strict=False)) * 1_000_000
    micro += int((fraction + "000000")[:6]) if fraction else 0
    if match["date"] is None:
        return micro, False
    try:
        year, month, number = (int(part) for part in match["date"].split("-"))
        day = datetime(year, month, number)
    except ValueError:
        return None
    if zone := re.fullmatch(r"([-+])(\d\d):?(\d\d)", match["zone"] or ""):
        shift = (int(zone[2]) * 60 + int(zone[3])) * 60_000_000
        micro -= shift if zone[1] == "+" else -shift
    return (day - datetime(1970, 1, 1)).days * 86_400_000_000 + micro, True


def _read_netcdf(path: Path) -> Table:
    dataset = opened(path)
    whole = dict(dataset.variables)
    if "species" in dataset.coords:  # a variable by species is a column for each
        for name in [n for n, v in whole.items() if "species" in v.dims and n != "species"]:
            variable = whole.pop(name)
            for place, one in enumerate(dataset["species"].values):
                label = str(one) if name == "concentration" else f"{name} {one}"
                whole[label] = variable.isel(species=place)
        whole.pop("species")
    _named(path, dataset, whole)
    dims = list(dict.fromkeys(d for v in whole.values() for d in v.dims))
    own = [d for d in dims if str(d).lower() in EXPERIMENT]
    along = [d for d in dims if d not in own]
    if len(own) > 1 or len(along) > 1:
        known = ", ".join(f"{n}({', '.join(map(str, v.dims))})" for n, v in whole.items())
        raise ValueError(
            f"{path}: its variables have the dimensions {', '.join(map(str, dims))}; a table has "
            f"one of time, one of experiments ({', '.join(EXPERIMENT[:6])}) or both, and species. "
            f"It has {known[:300]}."
        )
    shape = {d: dataset.sizes[d] for d in (*own, *along)}
    for d in own:  # a dimension without labels numbers its experiments
        whole.setdefault(d, xr.Variable((d,), np.arange(shape[d])))
    columns = []
    for variable in whole.values():
        cells = variable.set_dims(shape).values.reshape(-1)
        text = cells.dtype.kind in "OSU"
        columns.append(
            tuple(c.decode() if isinstance(c, bytes) else str(c) for c in cells) if text else cells
        )
    rows = int(np.prod([*shape.values()]))
    return Table(
        str(path),
        tuple(str(name) for name in whole),
        tuple(str(v.attrs.get("units", "")) for v in whole.values()),
        tuple(columns),
        np.arange(1, rows + 1),
    )


def _named(path: Path, dataset: xr.Dataset, whole: dict[Any, Any]) -> None:
    """Adds the conditions that `jaxchem.write` keeps beside trajectories."""
    if "given" in whole and "condition" in dataset.coords:
        given = whole.pop("given")
        for place, name in enumerate(whole.pop("condition").values):
            whole[str(name)] = given.isel(condition=place)
    try:
        kept = json.loads(dataset.attrs.get("conditions") or "{}")
    except (TypeError, ValueError):
        kept = {}
    for name, value in kept.items() if isinstance(kept, dict) else ():
        if name in CONDITIONS and isinstance(value, int | float):
            whole.setdefault(name, xr.Variable((), float(value)))
