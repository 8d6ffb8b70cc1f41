"""Expressions of the protocol: the part of FHIRPath that every engine understands alike (fhir-model §2.3).

Literals, the parameters below by ``%name``, comparison, ``and``, ``or``, ``.not()``, parentheses, and ``&`` or ``+`` of
strings, with FHIRPath's precedence. An expression is read to its very end and type-checked when the protocol is loaded;
nothing is converted, and nothing is empty: a parameter without a value is a fault, never false. No paths, no functions,
no arithmetic: times are offsets (``definitions``).
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, get_args

from fhir_aftercare.care.plan import EscortState
from fhir_aftercare.errors import ProtocolFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Value = bool | str | int | Decimal


class Type(Enum):
    """What an expression or a parameter is."""

    BOOLEAN = "boolean"
    STRING = "string"
    INTEGER = "integer"
    DECIMAL = "decimal"


PARAMETERS: Mapping[str, Type] = {
    "patientHasLeft": Type.BOOLEAN,
    "courseActive": Type.BOOLEAN,
    "phq9Baseline": Type.BOOLEAN,
    "gad7Baseline": Type.BOOLEAN,
    "readinessMet": Type.BOOLEAN,
    "integrationSession": Type.BOOLEAN,
    "escortNamed": Type.BOOLEAN,
    "estimatedEnd": Type.BOOLEAN,
    "escort": Type.STRING,
    "unmetText": Type.STRING,
    "releaseText": Type.STRING,
    "infusionNumber": Type.INTEGER,
    "ageYears": Type.INTEGER,
}
# Comparing with any other word can never be true: a typing error that would silently drop what is owed.
CHOICES: Mapping[str, frozenset[str]] = {"escort": frozenset(get_args(EscortState))}

_TOKEN = re.compile(
    r"""(?P<space>[\ \t\r\n]+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?)
    | (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<name>%(?:[A-Za-z_][A-Za-z0-9_]*|`[^`]*`))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign><=|>=|!=|[=<>&+().])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED = {"'": "'", '"': '"', "`": "`", "r": "\r", "n": "\n", "t": "\t", "f": "\f", "\\": "\\", "/": "/"}
_COMPARISONS: Mapping[str, Callable[[Value, Value], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBERS = {Type.INTEGER, Type.DECIMAL}
_LARGEST_INTEGER = 2**31 - 1
_LONGEST_NUMBER = 28
_MOST_OPERATORS = 200
_DEEPEST = 40
_LANGUAGE = "Write literals, %parameters, comparisons, and, or, .not(), parentheses, & of strings."


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of an expression. ``name`` and ``literal`` are set if it is a parameter or a string and nothing else."""

    type: Type
    run: Callable[[Mapping[str, Value]], Value]
    name: str | None = None
    literal: str | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was read and type-checked. ``names`` are the parameters it depends on, without ``%``."""

    text: str
    type: Type
    names: frozenset[str]
    file: str = field(default="", compare=False)
    action: str = field(default="", compare=False)
    _root: _Node = field(kw_only=True, repr=False, compare=False)

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """Give its value: a bool, str, int or Decimal, as ``type`` says.

        Raises ``ProtocolFault`` if a parameter it names has no value in ``values``, or none of its type.
        """
        for name in sorted(self.names):
            if name not in values:
                raise self._fault(f"%{name} has no value.", f"Leave out %{name}, or record what it is taken from.")
            if not _is_a(values[name], PARAMETERS[name]):
                raise self._fault(f"The value of %{name} is no {PARAMETERS[name].value}.")
            if name in CHOICES and values[name] not in CHOICES[name]:
                raise self._fault(f"The value of %{name} is none of {_listed(CHOICES[name])}.")
        return self._root.run(values)

    def _fault(self, message: str, remedy: str | None = None) -> ProtocolFault:
        return ProtocolFault(message, file=self.file, action=self.action, expression=self.text, remedy=remedy)


def parse(text: str, *, file: str = "", action: str = "") -> Expression:
    """Read a whole expression and check its types. ``file`` and ``action`` say where it stands.

    Raises ``ProtocolFault`` naming all three, and what to write instead, for anything beyond the language: text after
    the end, an unknown parameter, operands of types that do not go together, a word a parameter can never have.
    """
    reader = _Reader(text, file, action)
    root = reader.whole()
    return Expression(text, root.type, frozenset(reader.names), file, action, _root=root)


class _Reader:
    """Recursive descent, one method for each level of FHIRPath's precedence, the loosest first."""

    def __init__(self, text: str, file: str, action: str) -> None:
        self.names: set[str] = set()
        self._text, self._file, self._action = text, file, action
        self._tokens = self._split()
        self._next = self._operators = self._depth = 0

    def whole(self) -> _Node:
        """Read everything."""
        found = self._or()
        kind, lexeme, at = self._tokens[self._next]
        if kind != "end":
            raise self._fault(f"The expression is over, but {lexeme} follows at character {at}.")
        return found

    def _split(self) -> list[tuple[str, str, int]]:
        found, at = [], 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._fault(f"Character {at + 1} begins nothing that can be read.")
            if match.lastgroup != "space":
                found.append((str(match.lastgroup), match[0], at + 1))
            at = match.end()
        return [*found, ("end", "the end", at + 1)]

    def _take(self, *accepted: str) -> str | None:
        """Give the next token if it is one of these words or signs, and go on."""
        kind, lexeme, _ = self._tokens[self._next]
        if kind not in {"word", "sign"} or lexeme not in accepted:
            return None
        self._next += 1
        return lexeme

    def _operator(self, *accepted: str) -> str | None:
        found = self._take(*accepted)
        self._operators += found is not None
        if self._operators > _MOST_OPERATORS:
            raise self._fault(f"The expression has more than {_MOST_OPERATORS} operators.")
        return found

    def _level(
        self, operators: tuple[str, ...], deeper: Callable[[], _Node], combine: Callable[[_Node, _Node, str], _Node]
    ) -> _Node:
        left = deeper()
        while sign := self._operator(*operators):
            left = combine(left, deeper(), sign)
        return left

    def _or(self) -> _Node:
        return self._level(("or",), self._and, self._logical)

    def _and(self) -> _Node:
        return self._level(("and",), self._equality, self._logical)

    def _equality(self) -> _Node:
        return self._level(("=", "!="), self._inequality, self._compared)

    def _inequality(self) -> _Node:
        return self._level(("<", "<=", ">", ">="), self._joined, self._compared)

    def _joined(self) -> _Node:
        return self._level(("&", "+"), self._inverted, self._join)

    def _logical(self, left: _Node, right: _Node, word: str) -> _Node:
        if left.type is not Type.BOOLEAN or right.type is not Type.BOOLEAN:
            raise self._fault(f"Both sides of `{word}` must be boolean, not {left.type.value} and {right.type.value}.")
        first, second = left.run, right.run
        if word == "or":
            return _Node(Type.BOOLEAN, lambda values: first(values) or second(values))
        return _Node(Type.BOOLEAN, lambda values: first(values) and second(values))

    def _compared(self, left: _Node, right: _Node, sign: str) -> _Node:
        types = {left.type, right.type}
        if len(types) > 1 and not types <= _NUMBERS:
            raise self._fault(f"`{sign}` cannot compare {left.type.value} with {right.type.value}.")
        if sign not in {"=", "!="} and left.type is Type.BOOLEAN:
            raise self._fault(f"`{sign}` cannot compare booleans.")
        for one, other in ((left, right), (right, left)):
            choices = CHOICES.get(one.name or "")
            if choices and other.literal is not None and other.literal not in choices:
                raise self._fault(f"%{one.name} is never '{other.literal}'.", f"Compare it with {_listed(choices)}.")
        compare, first, second = _COMPARISONS[sign], left.run, right.run
        return _Node(Type.BOOLEAN, lambda values: compare(first(values), second(values)))

    def _join(self, left: _Node, right: _Node, sign: str) -> _Node:
        if left.type is not Type.STRING or right.type is not Type.STRING:
            raise self._fault(
                f"`{sign}` joins strings, not {left.type.value} and {right.type.value}.",
                "Join strings only; a number cannot be part of a text, and there is no arithmetic.",
            )
        first, second = left.run, right.run
        return _Node(Type.STRING, lambda values: str(first(values)) + str(second(values)))

    def _inverted(self) -> _Node:
        found = self._term()
        while self._operator("."):
            if not (self._take("not") and self._take("(") and self._take(")")):
                raise self._fault("After a `.` only `not()` can be read.", "Use parameters, not paths or functions.")
            if found.type is not Type.BOOLEAN:
                raise self._fault(f"`.not()` is for booleans, not for {found.type.value}.")
            found = _inverse(found.run)
        return found

    def _term(self) -> _Node:
        kind, lexeme, at = self._tokens[self._next]
        if kind == "end":
            raise self._fault(f"Something is missing at character {at}.")
        if self._take("("):
            return self._bracketed(at)
        self._next += 1
        if kind == "name":
            return self._parameter(lexeme[1:].strip("`"))
        if kind == "string":
            return self._string(lexeme)
        if kind == "number":
            return self._number(lexeme)
        if lexeme in {"true", "false"}:
            return _constant(lexeme == "true", Type.BOOLEAN)
        if lexeme == "not":
            raise self._fault("`not` stands after what it inverts.", "Write (…).not().")
        raise self._fault(f"{lexeme} at character {at} is no literal and no parameter.")

    def _bracketed(self, at: int) -> _Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._fault(f"Parentheses are nested more than {_DEEPEST} deep.")
        found = self._or()
        if not self._take(")"):
            raise self._fault(f"The parenthesis at character {at} is not closed.")
        self._depth -= 1
        return found

    def _parameter(self, name: str) -> _Node:
        if name not in PARAMETERS:
            raise self._fault(f"%{name} is no parameter.", f"Use one of {_listed(f'%{each}' for each in PARAMETERS)}.")
        self.names.add(name)
        return _Node(PARAMETERS[name], lambda values: values[name], name=name)

    def _number(self, lexeme: str) -> _Node:
        if len(lexeme) > _LONGEST_NUMBER:
            raise self._fault(f"A number has more than {_LONGEST_NUMBER} digits.")
        if "." in lexeme:
            return _constant(Decimal(lexeme), Type.DECIMAL)
        if int(lexeme) > _LARGEST_INTEGER:
            raise self._fault("An integer is too large for FHIR.")
        return _constant(int(lexeme), Type.INTEGER)

    def _string(self, lexeme: str) -> _Node:
        def meant(match: re.Match[str]) -> str:
            sign = match[1]
            if len(sign) > 1:
                return chr(int(sign[1:], 16))
            if sign not in _ESCAPED:
                raise self._fault(f"\\{sign} is no escape of FHIRPath.")
            return _ESCAPED[sign]

        words = _ESCAPE.sub(meant, lexeme[1:-1])
        try:
            # Two \u escapes may be the halves of one character; a half alone could not be written to any server.
            return _constant(words.encode("utf-16", "surrogatepass").decode("utf-16"), Type.STRING)
        except UnicodeDecodeError:
            raise self._fault("An \\u escape gives half a character.") from None

    def _fault(self, message: str, remedy: str = _LANGUAGE) -> ProtocolFault:
        return ProtocolFault(message, file=self._file, action=self._action, expression=self._text, remedy=remedy)


def _constant(value: Value, kind: Type) -> _Node:
    return _Node(kind, lambda _: value, literal=value if isinstance(value, str) else None)


def _inverse(run: Callable[[Mapping[str, Value]], Value]) -> _Node:
    return _Node(Type.BOOLEAN, lambda values: not run(values))


def _is_a(value: Value, kind: Type) -> bool:
    if kind is Type.BOOLEAN or isinstance(value, bool):
        return kind is Type.BOOLEAN and isinstance(value, bool)
    return isinstance(value, {Type.STRING: str, Type.INTEGER: int, Type.DECIMAL: Decimal}[kind])


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
