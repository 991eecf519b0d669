"""Hypothesis-made texts for MySQL and MariaDB: statements that do something to their session, spelled in any way."""

from __future__ import annotations

from hypothesis import strategies as st

VARIABLES = ("a", "b", "c")
LOCKS = ("l1", "l2")
TABLES = ("tmp1", "tmp2")
PREPARED = ("s1", "s2")
HANDLERS = ("h1", "h2")

_JUNK = st.sampled_from(
    ["'", "@a := 1", "; SET @a = 1 ;", "GET_LOCK('l1', 0)", "`", '"', "/*", "SET", "--", "ä", "\\", "x"]
)
_STRINGS = st.sampled_from(
    [
        "'x'", "''", "'it''s'", "'a\\'b'", "'\\\\'", "'\"'", "'`'", "'@a := 1'", "'/* x'", "'ä'", "'-- '", "'#'", "'\\n\\%\\0'",
        '"x"', '"it\'s"', '"a""b"', '"\\""', "'a' 'b'", "'; SET @a = 1'", "'x' COLLATE utf8mb4_bin", "'😀'",
    ]
)  # fmt: skip
_OTHERS = st.sampled_from(
    [
        "1", "0", "-1", "+2", "1.50", "-0.5", "1e3", "1e-3", ".5", "18446744073709551615", "NULL", "TRUE", "false", "x'4f'",
        "0x4F", "b'101'", "0b11", "N'x'", "_latin1'x'", "_utf8mb4'x'", "_binary'x'", "DATE'2020-01-01'", "TIME'10:00:00.50'", "TIMESTAMP'2020-01-01 00:00:00'", "DATE'2020-00-00'",
        "_latin1'x' COLLATE latin1_bin", "_utf8mb4'it''s' COLLATE utf8mb4_bin", "1 + 1", "@b",
        "NOW()", "CONCAT('x', @c)", "(SELECT 5)", "IF(1, 'y', 2)", "CASE WHEN 1 THEN 2 ELSE 3 END", "- - 1", "NOT 1", "x''",
        "@@sql_mode", "CHAR(65)", "1 COLLATE utf8mb4_bin",
    ]
)  # fmt: skip
values = _STRINGS | _OTHERS
_variable = st.sampled_from(["@a", "@A", "@`a`", "@'b'", "@b", "@c", "@`C`"])
_lock = st.sampled_from(["'l1'", "'L1'", "'l2'", "CONCAT('l', 1)", "@a"])
_table = st.sampled_from(["tmp1", "`tmp1`", "tmp2", "app.tmp2"])
_setting = st.sampled_from(
    [
        "sort_buffer_size = 300000", "SESSION sort_buffer_size := 300000", "@@sort_buffer_size = 310000", "autocommit = 1",
        "@@session.sort_buffer_size = DEFAULT", "LOCAL time_zone = '+01:00'", "max_join_size = 100 * 1000", "big_tables = ON",
        "lc_time_names = de_DE", "@@local.div_precision_increment = 6", "GLOBAL slow_launch_time = 3", "tx", "SQL_SAFE_UPDATES = 0",
        "timestamp = 1000", "group_concat_max_len = (SELECT 1000 + 24)", "@@global.slow_launch_time = 2",
    ]
)  # fmt: skip
_reading = st.sampled_from(
    [
        "sql_mode = ''", "sql_mode = 'ANSI_QUOTES'", "sql_mode = 'NO_BACKSLASH_ESCAPES'", "sql_mode = DEFAULT",
        "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "NAMES utf8mb4", "NAMES latin1", "NAMES utf8mb4 COLLATE utf8mb4_bin",
        "character_set_connection = latin1", "collation_connection = utf8mb4_unicode_ci", "CHARACTER SET utf8mb4",
    ]
)  # fmt: skip


def _words(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    given = [st.just(part.split()) if isinstance(part, str) else part.map(lambda one: [one]) for part in parts]
    return st.tuples(*given).map(lambda found: [word for words in found for word in words])


def _assignment() -> st.SearchStrategy[list[str]]:
    user = st.tuples(_variable, st.sampled_from([" = ", ":=", " := "]), values).map("".join)
    return _words(st.lists(user | _setting | _reading, min_size=1, max_size=3).map(", ".join))


_simple = st.sampled_from(
    [
        "SELECT 1", "BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION READ ONLY", "INSERT INTO probe ( b ) VALUES ( 1 )",
        "UPDATE probe SET b = LAST_INSERT_ID ( 77 ) LIMIT 1", "SELECT LAST_INSERT_ID ( 5 )", "SELECT SQL_CALC_FOUND_ROWS 1",
        "DO RELEASE_ALL_LOCKS ( )", "UNLOCK TABLES", "LOCK TABLES probe READ", "FLUSH TABLES WITH READ LOCK",
        "HANDLER probe OPEN AS h1", "HANDLER probe h2", "HANDLER app.probe OPEN h2", "HANDLER h1 CLOSE", "HANDLER h2 CLOSE",
        "EXECUTE s1", "EXECUTE s2", "DEALLOCATE PREPARE s1", "DROP PREPARE s2", "DROP TABLE IF EXISTS tmp1 , tmp2", "SELECT @@sql_mode",
        "SET last_insert_id = 9", "SET SESSION TRANSACTION READ WRITE", "CALL sets ( )", "CALL fills ( @a )", "SELECT \"x\" , 'y'",
        "CREATE TEMPORARY TABLE IF NOT EXISTS tmp1 AS SELECT 1 AS a", "ALTER TABLE tmp1 RENAME tmp2", "FROB", "SELECT 1 FROM nowhere",
        "SHOW WARNINGS", "SELECT a . * FROM ( SELECT 1 ) a", "EXPLAIN SELECT @a", "SELECT @a = 1 , @b", "SELECT 1 INTO @a , @b",
    ]
)  # fmt: skip
_inner = st.sampled_from(
    [
        "'SELECT 1'", "'SELECT @a := 7'", "'DO GET_LOCK(''l1'', 0)'", "'SET @b = 1'", "@a", "'CREATE TEMPORARY TABLE tmp1 (a INT)'",
        "'SET sql_mode = ANSI_QUOTES'", "'SELECT ?'", "\"SELECT 'x'\"", "'FROB'", "'SELECT ''\\\\''x'''",
    ]
)  # fmt: skip
_body = st.sampled_from(
    [
        "BEGIN SET @a = 5 ; END", "SET @b = 6", "BEGIN IF 1 THEN SET @a = 5 ; END IF ; DO GET_LOCK ( 'l1' , 0 ) ; END",
        "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN END ; SELECT CASE 1 WHEN 1 THEN 2 END INTO @b ; END",
        "x : LOOP LEAVE x ; END LOOP x", "BEGIN REPEAT SET @c = IF ( 1 , 2 , 3 ) ; UNTIL 1 END REPEAT ; END",
        "BEGIN CASE WHEN 1 THEN SET @a = 1 ; ELSE BEGIN END ; END CASE ; WHILE 0 DO SET @b = 1 ; END WHILE ; END",
    ]
)  # fmt: skip
_statement = st.one_of(
    _assignment().map(lambda words: ["SET", *words]),
    _simple.map(str.split),
    _words("SELECT", _variable, ":=", values),
    _words("SELECT", values, "INTO", _variable),
    _words("SELECT", values, ",", "GET_LOCK (", _lock, ", 0 )"),
    _words("DO", st.sampled_from(["RELEASE_LOCK", "GET_LOCK", "`get_lock`"]), "(", _lock, ", 0 )"),
    _words("DO RELEASE_LOCK (", _lock, ")"),
    _words("CREATE TEMPORARY TABLE", _table, "( a INT )"),
    _words("DROP", st.sampled_from(["TABLE", "TEMPORARY TABLE", "TABLE IF EXISTS"]), _table),
    _words("PREPARE", st.sampled_from(PREPARED), "FROM", _inner),
    _words("EXECUTE IMMEDIATE", _inner),
    _words("CREATE PROCEDURE made ( )", _body),
    _words("BEGIN NOT", "ATOMIC SET @a =", values, "; SELECT 1 ; END"),
    _words("SET STATEMENT sort_buffer_size = 300000 FOR SELECT @b :=", values),
    _words("SELECT", values, ",", values),
)
_gap = st.sampled_from(
    [" "] * 12 + ["\n", "\t", "/* c */", "/**/ ", " -- '\n", " #`\n", "/*!99999 SET @a = 1; */", "/* /* */ "]
)


@st.composite
def _spelled(draw: st.DrawFn) -> str:
    """One statement, with blanks, comments and executable comments between its words."""
    words = draw(_statement)
    # What holds its own quotes or blanks is written as it is.
    opens = draw(st.none() | st.integers(0, len(words) - 1))
    closes = draw(st.integers(opens, len(words) - 1)) if opens is not None else -1
    opening = draw(
        st.sampled_from(
            ["/*!", "/*!50101 ", "/*!99999 ", "/*M! ", "/*M!100100 ", "/*!100100 ", "/*!80000 ", "/*!050101 "]
        )
    )
    text = ""
    for at, word in enumerate(words):
        if at == opens:
            text += opening
        text += draw(st.sampled_from([word, word, word.lower() if word.isalpha() else word]))
        if at == closes and opens is not None:
            text += " */"
        text += draw(_gap)
    return text


_noise = _JUNK.map(lambda junk: "SELECT " + junk)
texts = st.lists(_spelled() | _spelled() | _spelled() | _noise, min_size=1, max_size=3).map(" ; ".join)
scripts = st.lists(texts, min_size=1, max_size=6)


ASSIGNED = 9
"""How many variables, @v1 and on, texts of `soups` may set."""
_atoms = st.sampled_from(
    [
        b"'", b'"', b"`", b"\\", b"\\'", b"*/", b"/*", b"/*!", b"-- ", b"#", b"\n", b", @v := 1 ", b", @v := 1 ", b", @v := 1 ", b", @v := 1 ", b"x", b" ",
        b"\xbf", b"\x81\\", b"\xe4\xb8\xad", b"\x83", b"''", b'""', b"``", b"$$", b"$a$", b"0", b"N'", b"--", b"\x80", b"\xa1`",
        b"\x81@", b"\x815", b"\xa0", b"\t", b"--\x01", b"/*!99999 ", b"/*!50101", b"/*M!100100 ", b"\xfe\xfe", b"/", b"*",
    ]
)  # fmt: skip
_soup = st.lists(_atoms, max_size=5).map(b"".join)
_brackets = st.sampled_from(
    [
        (b"/*", b"*/"), (b"-- ", b"\n"), (b"#", b"\n"), (b"/*!", b"*/"), (b"/*!50101 ", b"*/"), (b"/*!50701 ", b"*/"),
        (b"/*!99999 ", b"*/"), (b"/*!100100 ", b"*/"), (b"/*M! ", b"*/"), (b"/*M!100100 ", b"*/"), (b"/*!080000 ", b"*/"),
        (b", '", b"'"), (b', "', b'"'), (b", 1 AS `", b"`"), (b", 1 AS \"", b'"'), (b", _binary'", b"'"), (b", '", b"' '"),
        (b"--", b"\n"), (b"/*!5010 ", b"*/"), (b"+/*+ ", b"*/ 1"), (b", _latin1'", b"'"),
    ]
)  # fmt: skip
_piece = st.tuples(_brackets, _soup).map(lambda one: one[0][0] + one[1] + one[0][1]) | st.just(b" , @v := 1 ")


def _numbered(pieces: list[bytes]) -> bytes:
    text, at = b"SELECT 1 " + b" ".join(pieces), 0
    while b"@v " in text:
        at += 1
        text = text.replace(b"@v ", b"@v%d " % min(at, ASSIGNED), 1)
    return text


soups = st.lists(_piece, min_size=1, max_size=5).map(_numbered)
"""One SELECT, in which assignments stand in the open, in comments of all kinds, and between quotes of all kinds."""
