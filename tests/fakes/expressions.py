"""Reads the filter expressions of Milvus, as far as they compare fields with literals.

Written from the grammar of the servers (facts of 2.3.5), not from what Kitelift writes: a number
beyond int64 is refused, and where a minus sign is read apart from its number, so is -2^63.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

Key = int | str
Test = Callable[[Key], bool]
RowTest = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r'\s*(?:(\d+)|"((?:[^"\\\n\r\t]|\\.)*)"|(\$?\w+)|(<=|>=|==|!=|[<>(),\[\]%-]))')
_ESCAPES = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def parse(expression: str, primary: str) -> Test:
    """Returns the test on a key that an expression stands for; every key passes the empty one.

    Raises:
        ValueError: a server could not parse it.

    >>> [parse('id > 3 and id <= 5', "id")(key) for key in (3, 4, 5, 6)]
    [False, True, True, False]
    """
    test = parse_rows(expression, [primary])
    return lambda key: test({primary: key})


def parse_rows(expression: str, names: Collection[str], *, min_int64: bool = False) -> RowTest:
    """Returns the test on a row with these fields that an expression stands for.

    Args:
        min_int64: whether -2^63 is a number (2.6.19).

    Raises:
        ValueError: a server could not parse it.
    """
    if not expression:
        return lambda row: True
    tokens = _tokens(expression)
    last = tokens[-1] if tokens else ""
    reader = _Reader(tokens, names, min_int64=min_int64)
    try:
        test = reader.any_of()
    except IndexError:
        at = f"line 1:{len(expression)}"
        raise ValueError(f"{at} no viable alternative at input '{last}'") from None
    if reader.tokens:
        raise ValueError(f"cannot parse {expression!r} at {reader.tokens[0]!r}")
    return test


def _tokens(expression: str) -> list[Key]:
    """Returns the tokens; text comes with a double quote in front, so that it is no name."""
    found: list[Key] = []
    at = 0
    while expression[at:].strip():
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"cannot parse {expression!r} at {expression[at:]!r}")
        number, text, name, symbol = match.groups()
        found.append(int(number) if number else name or symbol or f'"{_unescaped(text)}')
        at = match.end()
    return found


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise ValueError(f"unknown escape {match[0]!r}")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", character, text, flags=re.DOTALL)


class _Reader:
    """Reads one expression from its tokens, by recursive descent."""

    def __init__(self, tokens: list[Key], names: Collection[str], *, min_int64: bool) -> None:
        self.tokens = tokens
        self._names = names
        self._smallest = -(2**63) if min_int64 else 1 - 2**63

    def any_of(self) -> RowTest:
        tests = [self._all_of()]
        while self._took("or"):
            tests.append(self._all_of())
        return lambda row: any(test(row) for test in tests)

    def _all_of(self) -> RowTest:
        tests = [self._one()]
        while self._took("and"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> RowTest:
        if self._took("("):
            inner = self.any_of()
            self._expect(")")
            return inner
        name = str(self._next())
        if name == "exists":
            return self._exists()
        if name not in self._names:
            raise ValueError(f"field {name} not exist")
        symbol = self._next()
        if symbol == "%":
            divisor, is_it = self._literal(), self._next()
            if is_it != "==" or not isinstance(divisor, int):
                raise ValueError("a remainder is compared by ==")
            rest = self._literal()
            return lambda row: math.fmod(row[name], divisor) == rest
        if symbol == "in":
            among = self._literals()
            return lambda row: row[name] in among
        if symbol not in _COMPARISONS:
            raise ValueError(f"unknown comparison {symbol!r}")
        compare, bound = _COMPARISONS[str(symbol)], self._literal()
        return lambda row: compare(ordered(row[name]), ordered(bound))

    def _exists(self) -> RowTest:
        for token in ("$meta", "["):
            self._expect(token)
        key = self._literal()
        self._expect("]")
        return lambda row: key in json.loads(row["$meta"])

    def _literals(self) -> set[Key]:
        self._expect("[")
        found: set[Key] = set()
        while not self._took("]"):
            found.add(self._literal())
            self._took(",")
        return found

    def _literal(self) -> Key:
        sign = -1 if self._took("-") else 1
        token = self._next()
        if isinstance(token, int):
            if not self._smallest <= sign * token < 2**63:
                raise ValueError(f'strconv.ParseInt: parsing "{token}": value out of range')
            return sign * token
        if isinstance(token, str) and token.startswith('"') and sign == 1:
            return token[1:]
        raise ValueError(f"no literal: {token!r}")

    def _next(self) -> Key:
        return self.tokens.pop(0)

    def _took(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._took(token):
            raise ValueError(f"expected {token!r}, found {self.tokens[:1]}")


def ordered(key: Key) -> int | bytes:
    """Servers order text by its UTF-8 bytes."""
    return key if isinstance(key, int) else key.encode()
