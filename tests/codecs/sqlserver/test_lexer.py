"""T-SQL's tokens: borders of literals, comments and names; any text at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.sqlserver.lexer import Kind, tokens, unquoted


def said(text: str, **more: bool) -> list[tuple[str, str]]:
    """Kinds and texts."""
    return [(token.kind.name, token.text) for token in tokens(text, **more)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 'it''s' + N'x'", [("WORD", "select"), ("LITERAL", "'it''s'"), ("MARK", "+"), ("LITERAL", "N'x'")]),
        ("[a]]b].[c]", [("QUOTED", "[a]]b]"), ("MARK", "."), ("QUOTED", "[c]")]),
        ("@@TRANCOUNT>@x", [("SYSTEM", "@@TRANCOUNT"), ("MARK", ">"), ("VARIABLE", "@x")]),
        ("#t ##u a#b$c@d", [("WORD", "#t"), ("WORD", "##u"), ("WORD", "a#b$c@d")]),
        ("1.5e-3 .5 0xFF 0x $12.5 1.", [("NUMBER", n) for n in ("1.5e-3", ".5", "0xFF", "0x", "$12.5", "1.")]),
        ("a/* b /* c */ d */e", [("WORD", "a"), ("WORD", "e")]),
        ("a -- b 'c\nd", [("WORD", "a"), ("WORD", "d")]),
        ("a - -b", [("WORD", "a"), ("MARK", "-"), ("MARK", "-"), ("WORD", "b")]),
        ("größe été", [("WORD", "größe"), ("WORD", "été")]),
        ("'open", [("FAULT", "'open")]),
        ("x [open", [("WORD", "x"), ("FAULT", "[open")]),
        ("x /* /* */ y", [("WORD", "x"), ("FAULT", "/* /* */ y")]),
    ],
)
def test_tokens_begin_and_end_where_sql_server_has_them(text: str, expected: list[tuple[str, str]]) -> None:
    assert said(text) == expected


def test_double_quotes_are_what_quoted_identifier_makes_of_them() -> None:
    assert said('"a""b"') == [("QUOTED", '"a""b"')]
    assert said('"a""b"', quoted_identifier=False) == [("LITERAL", '"a""b"')]
    (literal,) = tokens('"a""b"', quoted_identifier=False)
    assert unquoted(literal) == 'a"b'


def test_what_is_quoted_comes_back_without_its_quotes() -> None:
    assert [unquoted(token) for token in tokens("N'it''s' [a]]b] x")] == ["it's", "a]b", "x"]


@given(st.text(alphabet="ab'\"[]/*-@#$0x. \n;é", max_size=60), st.booleans())
def test_any_text_is_read_to_its_end(text: str, quoted: bool) -> None:
    them = tokens(text, quoted_identifier=quoted)
    at = 0
    for token in them:
        assert token.at >= at
        assert text[token.at : token.end] == token.text
        assert token.kind is not Kind.BLANK
        at = token.end
    assert all(token.kind is not Kind.FAULT for token in them[:-1])
