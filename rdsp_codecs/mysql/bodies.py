"""Where the body of a stored routine ends in a text of several statements: what it says is not done now.

`inspection` asks. Blocks are counted as the grammar counts them: words open and close them only where a statement can
begin, and CASE is an expression everywhere else.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.mysql.lexer import Facts, Kind, Token
from rdsp_codecs.mysql.reading import BUDGET, END, Reading

_EXPRESSION: Final = b"("
"""Stands for a CASE that is an expression; other blocks are called by the word that opens them."""
_OPENS: Final = frozenset({b"begin", b"if", b"case", b"loop", b"while", b"repeat", b"for"})
_THEN_STATEMENTS: Final = frozenset({b"begin", b"loop", b"repeat", b"else"})
_GOES_ON: Final = frozenset({b"then", b"else", b"do", b"loop"})
"""Words in the middle of IF, CASE, WHILE and FOR behind which statements begin."""
_BEFORE_BODY: Final = frozenset({b"row", b"do", b")", b":", b"deterministic", b"sql", b"data", b"definer", b"invoker"})
"""What may stand before a routine's body, but for names, types and literals."""


class Bodies(Reading):
    """Reads past a routine."""

    def __init__(self, text: bytes, facts: Facts, budget: int = BUDGET) -> None:
        super().__init__(text, facts, budget)
        self._blocks: list[bytes] = []
        self._before = b""
        self._in_header = self._at_head = self._handles = self._returns = False

    def _skip_body(self) -> bool:
        """Take all up to the semicolon behind the routine. Returns whether its end is sure."""
        self._blocks = []
        self._before = b""
        self._in_header, self._at_head, self._handles, self._returns = True, False, False, False
        while True:
            token = self._peek()
            said = self._said(token)
            if token == END or (said == b";" and not self._blocks):
                return not self._blocks
            self._take()
            self._count(token, said)
            self._before = said or (b")" if token[0] == Kind.LITERAL else b"")

    def _count(self, token: Token, said: bytes) -> None:
        blocks = self._blocks
        if said == b";":
            self._at_head, self._handles = True, False
        elif blocks and blocks[-1] == _EXPRESSION:
            if said == b"case":
                blocks.append(_EXPRESSION)
            elif said == b"end":
                blocks.pop()
        elif self._in_header and not blocks:
            self._count_header(token, said)
        elif self._at_head or self._handles or (said == b"end" and blocks[-1:] == [b"repeat"]):
            self._count_head(said)
        elif said == b"case":
            blocks.append(_EXPRESSION)
        elif said in _GOES_ON and blocks and blocks[-1] != b"begin":
            self._at_head = True

    def _count_header(self, token: Token, said: bytes) -> None:
        self._returns = (self._returns or said == b"returns") and said != b"return"
        if self._opens_body(said, self._before, token, returns=self._returns):
            self._blocks.append(said)
            self._in_header, self._at_head = False, said in _THEN_STATEMENTS
        elif said == b"case":
            self._blocks.append(_EXPRESSION)

    def _count_head(self, said: bytes) -> None:
        """A word with which a statement, or a part of a block, begins; or one behind DECLARE ... HANDLER."""
        if said == b"end" and self._blocks:
            self._blocks.pop()
            if self._said(self._peek()) in _OPENS:
                self._take()
            self._at_head = False
        elif said in _OPENS and not (self._handles and said == b"for"):
            self._blocks.append(said)
            self._at_head, self._handles = said in _THEN_STATEMENTS, False
        elif said != b"else":
            if self._at_head and self._next_is(b":"):
                self._take()  # a label
            else:
                self._handles = self._handles or (said == b"declare" and self._said(self._peek(1)) == b"handler")
                self._at_head = False

    def _opens_body(self, said: bytes, before: bytes, token: Token, *, returns: bool) -> bool:
        """Whether a word before the body is the one that opens it."""
        if said == b"begin":
            return True
        if said not in _OPENS or token[0] != Kind.WORD:
            return False
        if said == b"for" and self._next_is(b"each"):
            return False
        if said == b"if" and self._next_is(b"not", b"exists"):
            return False
        return returns or before in _BEFORE_BODY
