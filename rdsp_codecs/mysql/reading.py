"""A walk over the tokens of one text, with a look ahead, on a budget: what `inspection` is built on."""

from __future__ import annotations

from typing import Final

from rdsp_codecs.mysql.lexer import Facts, Kind, Token, Tokens, readable
from rdsp_codecs.mysql.notable import filler

BUDGET: Final = 200_000
"""How many tokens of a text are looked at; what is behind them is not trusted."""
NAMES: Final = frozenset({Kind.WORD, Kind.QUOTED})
END: Final[Token] = (Kind.FAULT, -1, -1)
"""Stands for the end of the text."""


class SpentError(Exception):
    """The budget is used up, or the text cannot be read any more."""


class Reading:
    """Tokens, one by one. `_ahead` holds those that were looked at and not taken."""

    def __init__(self, text: bytes, facts: Facts, budget: int = BUDGET) -> None:
        self._text = text
        self._facts = facts
        self._tokens = Tokens(text, facts)
        self._ahead: list[Token] = []
        self._low = b""
        self._skipper = filler(facts) if readable(facts) else None
        self.left = budget

    def _pull(self) -> Token:
        token = self._tokens.next()
        if token is None:
            return END
        self.left -= 1
        if token[0] == Kind.FAULT or self.left < 0:
            raise SpentError
        return token

    def _take(self) -> Token:
        """The next token; `END`. Raises `SpentError`."""
        return self._ahead.pop(0) if self._ahead else self._pull()

    def _skip(self) -> None:
        """Pass tokens that mean nothing, in bulk, if none were looked at yet."""
        if self._ahead or self._skipper is None:
            return
        if not self._low:
            self._low = self._text.lower()
        found = self._skipper(self._low, self._tokens.at)
        if found is not None:
            self._tokens.at = found.end()

    def _peek(self, ahead: int = 0) -> Token:
        """The one that `_take` will give, or one behind it."""
        while len(self._ahead) <= ahead:
            if self._ahead and self._ahead[-1] == END:
                return END
            self._ahead.append(self._pull())
        return self._ahead[ahead]

    def _said(self, token: Token) -> bytes:
        """A word in lower case, a mark as it is, and nothing for all else."""
        kind, start, end = token
        if kind == Kind.WORD:
            return self._text[start:end].lower()
        return self._text[start:end] if kind == Kind.MARK else b""

    def _next_is(self, *words: bytes) -> bool:
        """Whether exactly these come next; nothing is taken."""
        return all(self._said(self._peek(at)) == word for at, word in enumerate(words))

    def _accept(self, *words: bytes) -> bool:
        """Take these, if they come next."""
        if not self._next_is(*words):
            return False
        for _ in words:
            self._take()
        return True

    def _ends(self) -> bool:
        """Whether the statement ends here."""
        token = self._peek()
        return token == END or self._said(token) == b";"

    def _name(self, token: Token) -> bytes:
        """An identifier without its quotes, as it is spelled; nothing for what is none."""
        kind, start, end = token
        if kind == Kind.QUOTED:
            quote = self._text[start : start + 1]
            return self._text[start + 1 : end - 1].replace(quote * 2, quote)
        return self._text[start:end] if kind == Kind.WORD else b""

    def _take_name(self) -> bytes | None:
        """A name of up to two parts, "first NUL second", or "NUL second" where there is one; None for what is none."""
        if self._peek()[0] not in NAMES:
            return None
        first, second = b"", self._name(self._take())
        if self._next_is(b"."):
            self._take()
            if self._peek()[0] not in NAMES:
                return None
            first, second = second, self._name(self._take())
        return first + b"\0" + second
