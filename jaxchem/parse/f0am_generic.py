"""Generic coefficients of F0AM: what the scripts beside a mechanism assign to its names.

A ``NAME_K.m`` has blocks of ``Knames{i} = 'KMT01';``, values, and ``krx(:,i) = RATE``. Of a
``NAME_J.m`` what counts is ``J.JNO2 = Jmcm.J4 + ...``, where ``Jmcm`` has the photolysis of the
MCM, and blocks of ``Jnames{i} = 'J4'; I(i) = ...; m(i) = ...; n(i) = ...``, the MCM's function of
the zenith angle; the rest chooses between methods and tables that are not read.
"""

import re
from pathlib import Path

from ..expression import Call, Expression, Name, Number
from ..network import MechanismError
from ..rates import mcm
from .common import decoded, fail
from .f0am_language import Values, statements

__all__ = ["Script"]

_PASSED = re.compile(
    r"(function\b|struct2var\b|nk\s*=|krx\s*=|Knames\s*=|i\s*=\s*(\d+|i\s*\+\s*1)$).*"
)
_PHOTOLYSIS = {**mcm.PHOTOLYSIS, 24: (2.4246e-06, 0.395, 0.296)}
"""The MCM's photolysis as F0AM has it."""


class Script:
    """One script: the values of its names.

    Args:
        path: of the file; its name ends in ``_K.m`` or ``_J.m``.

    Raises:
        ValueError: a file that cannot be read.
        MechanismError: (a `ValueError`) a statement that is not read, with file and line.
    """

    def __init__(self, path: Path):
        self.path = path
        self.line = 1
        self.values: dict[str, Expression] = {}
        self.lines: dict[str, int] = {}
        text = decoded(path)
        read = self._coefficients if path.stem.upper().endswith("_K") else self._photolysis
        try:
            read(text)
        except MechanismError:
            raise
        except ValueError as error:
            raise fail(str(path), self.line, str(error)) from None

    def _coefficients(self, text: str) -> None:
        values, name = Values(), ""
        for line, statement in statements(text, str(self.path)):
            self.line = line
            if re.match(r"K\s*=", statement):
                return
            if match := re.fullmatch(r"Knames\s*\{\s*i\s*\}\s*=\s*'(\w+)'", statement):
                name = match[1]
            elif match := re.fullmatch(r"krx\s*\(\s*:\s*,\s*i\s*\)\s*=(?!=)(.+)", statement):
                if not name:
                    raise ValueError("krx(:,i) has no Knames{i} before it")
                self._note(name, values.value(match[1]).tree)
                name = ""
            elif not _PASSED.fullmatch(statement) and not values.assign(statement):
                raise ValueError(f"{statement[:60]!r} is no statement of generic coefficients")

    def _photolysis(self, text: str) -> None:
        names, rows, values = [], {}, Values()
        for line, statement in statements(text, str(self.path)):
            self.line = line
            if match := re.fullmatch(r"Jnames\s*\{\s*i\s*\}\s*=\s*'(\w+)'", statement):
                names.append((match[1], self.line))
                rows[match[1]] = {}
            elif names and (match := re.fullmatch(r"([Imn])\(i\)\s*=\s*(.+)", statement)):
                rows[names[-1][0]][match[1]] = values.value(match[2]).tree
            elif match := re.fullmatch(r"J\.(\w+)\s*=\s*(.+)", statement):
                tree = values.value(re.sub(r"\bJmcm\.(\w+)", r"\1", match[2])).tree
                if tree != Name(match[1]):
                    self._note(match[1], tree)
        for name, line in names:
            self.line = line
            row = [rows[name].get(part) for part in "Imn"]
            if not all(isinstance(part, Number) for part in row):
                raise ValueError(f"{name}: I(i), m(i) and n(i) belong to it, each a number")
            self._note(name, Call("mcm_photolysis", tuple(row)))
        # 'Jmcm' is another script's, of which the numbered ones are known
        for value in values.names:
            number = re.fullmatch(r"J(\d+)", value)
            if number and value not in self.values and int(number[1]) in _PHOTOLYSIS:
                row = _PHOTOLYSIS[int(number[1])]
                self._note(value, Call("mcm_photolysis", tuple(map(Number, row))))

    def _note(self, name: str, tree: Expression) -> None:
        if name in self.values:
            raise ValueError(f"{name!r} stands in line {self.lines[name]} too; drop one")
        self.values[name], self.lines[name] = tree, self.line
