"""Reading an SQL text on a budget: its tokens, the words and names that they say, the arguments of a call.

`inspection` looks at a text with this. What cannot matter is skipped by patterns in linear time; all else is paid for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rdsp_codecs.postgres.lexer import Kind, Token, literal_value, token_at, tokens
from rdsp_codecs.postgres.notable import FILLER, GAP, ITEMS

_TRUE: Final = frozenset({b"t", b"true", b"y", b"yes", b"on", b"1"})
SKIPPED: Final = frozenset({Kind.BLANK, Kind.COMMENT})
SEMICOLON: Final = b";"
IS_LOCAL: Final = 3
"""Which of its arguments makes set_config end with the transaction."""
BUDGET: Final = 1_000_000
"""What one look may cost, DO blocks included, in units of about 0.1 us. A literal or comment may use it up alone."""
_TOKEN: Final = 15
_SKIP: Final = 10


class SpentError(Exception):
    """The budget is used up."""


class Reading:
    """One text, and what is left to spend on it.

    `SpentError` comes out of whatever reads on when the budget is used up.
    """

    def __init__(self, text: bytes, *, escapes: bool, budget: int) -> None:
        """`escapes`: `standard_conforming_strings` is off."""
        self.left = budget
        self._text = text
        self._low = text.lower()
        self._escapes = escapes

    def distrust(self, start: int) -> None:
        """From `start` on the text cannot be read surely."""
        raise NotImplementedError

    def _pay(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise SpentError

    def _pay_for(self, token: Token) -> None:
        kind, start, end = token
        # A comment may be full of others that are nested in it.
        self._pay(_TOKEN + ((end - start) >> (1 if kind == Kind.COMMENT else 4)))

    def _draw(self, at: int) -> Iterator[Token]:
        """The tokens from `at`: nothing but this and `_next` asks for them."""
        self._pay(_TOKEN)
        for token in tokens(self._text, at, escapes=self._escapes):
            self._pay_for(token)
            yield token

    def _skip(self, at: int, *, at_head: bool, ends: bool) -> int:
        """Where what cannot matter ends, from a start of a token to another."""
        pattern = GAP if at_head else FILLER[self._escapes, ends]
        while (skipped := pattern(self._low, at)) is not None:
            start, at = skipped.span()
            size = at - start
            if size < ITEMS:
                self._pay(_SKIP + (size >> 2))
                break
            self._pay(_SKIP + max(0, (ITEMS >> 1) - (size >> 3)))
        return at

    def _next(self, at: int) -> Token | None:
        """The next token that is neither blank nor comment; None at the end, also at one that comes too early."""
        while (token := token_at(self._text, at, escapes=self._escapes)) is not None:
            self._pay_for(token)
            kind, start, at = token
            if kind == Kind.FAULT:
                self.distrust(start)
                return None
            if kind not in SKIPPED:
                return token
        return None

    def _ahead(self, at: int, count: int) -> list[tuple[Token, bytes]]:
        """Up to `count` tokens of this statement from `at`, words and marks with what they say (lower case)."""
        result: list[tuple[Token, bytes]] = []
        for token in self._draw(at):
            kind, start, end = token
            if kind in SKIPPED:
                continue
            said = self._low[start:end] if kind in (Kind.WORD, Kind.MARK) else b""
            if said == b";":
                break
            result.append((token, said))
            if len(result) == count:
                break
        return result

    def _words(self, at: int, count: int) -> list[bytes]:
        """As `_ahead`: what is said, padded with b"" to `count`."""
        said = [word for _, word in self._ahead(at, count)]
        return said + [b""] * (count - len(said))

    def _name(self, token: Token) -> bytes:
        """What a WORD or QUOTED token names, in lower case; b"" for others."""
        kind, start, end = token
        if kind == Kind.QUOTED:
            return self._low[start + 1 : end - 1]
        return self._low[start:end] if kind == Kind.WORD else b""

    def _spelling(self, token: Token) -> bytes:
        """What such a token names, as the server spells it."""
        kind, start, end = token
        return self._text[start + 1 : end - 1] if kind == Kind.QUOTED else self._name(token)

    def _plain(self, argument: list[Token]) -> bytes | None:
        """What an argument says that is nothing but one literal, in lower case."""
        if len(argument) != 1 or argument[0][0] != Kind.LITERAL:
            return None
        return literal_value(self._low, argument[0], escapes=self._escapes)

    def _as_text(self, argument: list[Token]) -> list[Token]:
        """The argument without a ::text behind it."""
        said = [self._low[start:end] for _, start, end in argument[1:]]
        return argument[:1] if said == [b":", b":", b"text"] else argument

    def _arguments(self, at: int) -> list[list[Token]]:
        """The tokens of the three arguments of the set_config whose arguments begin at `at`; none where in doubt."""
        depth, arguments = 0, [list[Token]()]
        for token in self._draw(at):
            kind, start, _ = token
            if kind in SKIPPED:
                continue
            mark = self._text[start : start + 1] if kind == Kind.MARK else b""
            if depth == 0 and mark in (b",", b")", b"]"):
                if mark != b"," or len(arguments) == IS_LOCAL:
                    return arguments if mark == b")" else []
                arguments.append([])
                continue
            if self._leaves_doubt(token):
                return []
            depth += (mark in (b"(", b"[")) - (mark in (b")", b"]"))
            arguments[-1].append(token)
        return []

    def _told(self, at: int) -> list[bool]:
        """Of each argument of the call whose arguments begin at `at`: whether the text tells what it is, and no
        parameter, column or operator. None where the end is not found.
        """
        depth, told, argument = 0, list[bool](), list[Token]()
        for token in self._draw(at):
            kind, start, _ = token
            if kind in SKIPPED:
                continue
            mark = self._text[start : start + 1] if kind == Kind.MARK else b""
            if kind == Kind.FAULT or mark == SEMICOLON:
                return []
            if depth == 0 and mark in (b",", b")"):
                told.append(self._is_told(argument))
                argument = []
                if mark == b")":
                    return told
                continue
            depth += (mark in (b"(", b"[")) - (mark in (b")", b"]"))
            argument.append(token)
        return []

    def _is_told(self, argument: list[Token]) -> bool:
        argument = self._as_text(argument)
        if len(argument) != 1:
            return False
        kind, start, end = argument[0]
        if kind in (Kind.LITERAL, Kind.DOLLAR):
            return literal_value(self._text, argument[0], escapes=self._escapes) is not None
        return kind == Kind.NUMBER or self._low[start:end] in (b"true", b"false", b"null")

    def _leaves_doubt(self, token: Token) -> bool:
        """Among arguments: arguments by name, which may come in any order; a call in a call; an end."""
        kind, start, _ = token
        if kind == Kind.MARK:
            return self._text[start] in SEMICOLON or self._text[start : start + 2] in (b"=>", b":=")
        return kind == Kind.FAULT or self._name(token) == b"set_config"

    def _is_true(self, argument: list[Token]) -> bool:
        said = [self._low[start:end] for kind, start, end in argument if kind in (Kind.WORD, Kind.MARK)]
        if argument and argument[0][0] == Kind.LITERAL:
            value = literal_value(self._low, argument[0], escapes=self._escapes)
            return value in _TRUE and said in ([], [b":", b":", b"bool"], [b":", b":", b"boolean"])
        return len(said) == len(argument) and said in ([b"true"], [b"true", b":", b":", b"boolean"])
