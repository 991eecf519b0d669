"""Statement digests for logs: a text without its literals, in RDS Proxy's form."""

from __future__ import annotations

from rdsp_codecs.postgres.lexer import Kind, tokens


def digest(text: bytes, limit: int = 512, *, escapes: bool = False) -> str:
    """A text in lower case, literals as $1, $2..., without comments, blanks folded, at most about `limit` characters.

    A literal never appears: where the text cannot be read any further it ends with "...".
    """
    parts: list[str] = []
    size = literals = 0
    glue = ""
    for token in tokens(text, escapes=escapes):
        if token.kind is Kind.BROKEN or size > limit:
            parts.append(" ...")
            break
        if token.kind in (Kind.STRING, Kind.NUMBER, Kind.PARAMETER):
            literals += 1
            piece = f"${literals}"
        elif token.kind is Kind.WORD:
            piece = token.value.decode("utf-8", "replace")
        else:
            piece = token.text.decode("utf-8", "replace")
        symbol = token.kind is Kind.SYMBOL
        tight = symbol and piece in ",;)(.:["
        parts.append(piece if tight or not parts else glue + piece)
        glue = "" if symbol and piece in "(.:,[" else " "
        size += len(piece) + 1
    return "".join(parts)
