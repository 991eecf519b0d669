"""A corpus of commands with answers of every shape, run on one connection of our own client."""

from __future__ import annotations

import struct

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.messages import ChangeUser, change_user
from rdsp_codecs.mysql.values import lenenc
from tests.servers.mysql import DATABASE, OPEN
from tests.servers.mysqlclient import Heard, MySqlClient

VAR_STRING = 0xFD
READ_ONLY_CURSOR = 1


class Talk:
    """The corpus. `heard` has every answer in order."""

    def __init__(self, client: MySqlClient, *, mariadb: bool) -> None:
        self.client = client
        self.mariadb = mariadb
        self.attributes = bool(client.flags & c.CLIENT_QUERY_ATTRIBUTES)
        self.heard: list[tuple[str, list[Heard]]] = []

    def ask(self, name: str, code: int, body: bytes = b"", *files: bytes) -> list[Heard]:
        """A command, whose answer must end where `Dialogue` says: a ping behind it has its own answer, from packet 1."""
        answer = self.client.ask(code, body, files)
        self.heard.append((name, answer))
        (pong,) = self.client.ask(r.COM_PING)
        assert pong.part is Part.OK, name
        return answer

    def query(self, text: str, *files: bytes) -> list[Heard]:
        """COM_QUERY."""
        prefix = b"\0\1" if self.attributes else b""
        return self.ask(text[:60], r.COM_QUERY, prefix + text.encode(), *files)

    def prepare(self, text: str) -> tuple[int, list[Heard]]:
        """COM_STMT_PREPARE: the statement's number, and the answer."""
        answer = self.ask("prepare " + text[:50], r.COM_STMT_PREPARE, text.encode())
        number = int.from_bytes(answer[0].payload[1:5], "little") if answer[0].part is Part.PREPARED else 0
        return number, answer

    def execute_body(self, number: int, values: tuple[bytes | None, ...] = (), cursor: int = 0) -> bytes:
        """The body of a COM_STMT_EXECUTE with strings for parameters; None: it was sent before."""
        flags = cursor | (8 if self.attributes else 0)
        head = struct.pack("<IBI", number, flags, 1)
        if not values and not self.attributes:
            return head
        if self.attributes:
            head += bytes((len(values),))
            if not values:
                return head
        nulls = bytes((len(values) + 7) // 8)
        types = b"".join(bytes((VAR_STRING, 0)) + (b"\0" if self.attributes else b"") for _ in values)
        return head + nulls + b"\1" + types + b"".join(lenenc(value) for value in values if value is not None)

    def execute(self, number: int, values: tuple[bytes | None, ...] = (), cursor: int = 0) -> list[Heard]:
        """COM_STMT_EXECUTE."""
        return self.ask(f"execute {number}", r.COM_STMT_EXECUTE, self.execute_body(number, values, cursor))


def parts(answer: list[Heard]) -> str:
    """An answer as letters, but for reports of progress: O(K), E(RR), X (EOF), C(ount), D(efinition), R(ow), P(repared), F(ile), T(ext)."""
    letters = {
        Part.OK: "O", Part.ERR: "E", Part.EOF: "X", Part.COUNT: "C", Part.DEFINITION: "D", Part.ROW: "R",
        Part.PREPARED: "P", Part.FILE: "F", Part.TEXT: "T", Part.PROOF: "A", Part.PROGRESS: "", Part.EVENT: "B",
    }  # fmt: skip
    return "".join(letters[one.part] for one in answer)


def set_up(talk: Talk) -> None:
    """Tables and procedures of the corpus."""
    for text in (
        "DROP TABLE IF EXISTS t, two, bare",
        "CREATE TABLE t (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(100), KEY (b)) ENGINE=InnoDB",
        "CREATE TABLE two (c INT) ENGINE=InnoDB",
        "CREATE TABLE bare (d INT, e INT) ENGINE=InnoDB",
        "DROP PROCEDURE IF EXISTS several",
        "CREATE PROCEDURE several(OUT x INT) BEGIN SELECT 1; SELECT * FROM bare; SET x = 7; SELECT 2, 3; END",
        "DROP PROCEDURE IF EXISTS nothing",
        "CREATE PROCEDURE nothing() BEGIN SET @x = 1; END",
    ):
        assert parts(talk.query(text)) == "O", text


def simple(talk: Talk) -> None:
    """Commands with one packet for an answer."""
    assert parts(talk.ask("init", r.COM_INIT_DB, DATABASE.encode())) == "O"
    assert parts(talk.ask("init", r.COM_INIT_DB, b"nowhere")) == "E"
    assert parts(talk.ask("statistics", r.COM_STATISTICS)) == "T"
    assert parts(talk.ask("option", r.COM_SET_OPTION, b"\1\0")) in ("O", "X")
    assert parts(talk.query("SELECT 1; SELECT 2")) == "E"
    assert parts(talk.ask("option", r.COM_SET_OPTION, b"\0\0")) in ("O", "X")
    assert parts(talk.ask("option", r.COM_SET_OPTION, b"\7\0")) == "E"
    assert parts(talk.ask("kill", r.COM_PROCESS_KILL, b"\xff\xff\xff\x7f")) == "E"
    for code in (r.COM_SLEEP, r.COM_CONNECT, r.COM_TIME, r.COM_DELAYED_INSERT, r.COM_CONNECT_OUT, r.COM_DAEMON, 0x70):
        assert parts(talk.ask("no command", code)) == "E", code
    for code, body in ((r.COM_REFRESH, b"\1"), (r.COM_CREATE_DB, b"x1"), (r.COM_DROP_DB, b"x1"), (r.COM_DEBUG, b"")):
        assert parts(talk.ask("old command", code, body)) in ("O", "X", "E"), code


def texts(talk: Talk, ends: str) -> None:
    """COM_QUERY. `ends`: what stands behind definitions."""
    end = "X" if ends else "O"
    assert parts(talk.query("INSERT INTO t (b) VALUES ('one'), ('two'), (NULL), ('')")) == "O"
    assert parts(talk.query("INSERT INTO two VALUES (1), (2)")) == "O"
    assert parts(talk.query("UPDATE t SET b = 'zwei' WHERE b = 'two'")) == "O"
    assert parts(talk.query("SELECT 1")) == "CD" + ends + "R" + end
    assert parts(talk.query("SELECT a, b, NULL FROM t")) == "CDDD" + ends + "RRRR" + end
    assert parts(talk.query("SELECT NULL, a FROM t")) == "CDD" + ends + "RRRR" + end
    assert parts(talk.query("SELECT * FROM bare")) == "CDD" + ends + end
    assert parts(talk.query("SELEC")) == "E"
    assert parts(talk.query("")) == "E"
    assert parts(talk.query("INSERT INTO t VALUES (1, 'again')")) == "E"
    broken = parts(talk.query("SELECT a, IF(a > 1, (SELECT c FROM two WHERE c < t.a + 5), 0) FROM t ORDER BY a"))
    assert broken in ("E", "CDD" + ends + "E", "CDD" + ends + "RE")
    one, two = "CD" + ends + "R" + end, "CDD" + ends + "R" + end
    assert parts(talk.query("SELECT 1; INSERT INTO two VALUES (3); SELECT 2; SET @a = 1")) == one + "O" + one + "O"
    assert parts(talk.query("SELECT 1; SELECT nothing; SELECT 2")) == one + "E"
    assert parts(talk.query("SELECT * FROM bare; SELECT 1")) == "CDD" + ends + end + one
    assert parts(talk.query("CALL several(@x)")) == one + "CDD" + ends + end + two + "O"
    assert parts(talk.query("CALL nothing()")) == "O"
    assert parts(talk.query("CALL several(@x); SELECT @x")) == one + "CDD" + ends + end + two + "O" + one
    assert parts(talk.query("EXPLAIN SELECT * FROM t"))[0] == "C"
    assert parts(talk.query("SHOW WARNINGS"))[-1] == end
    assert parts(talk.query("SHOW VARIABLES LIKE 'max%'")).count("R") > 5
    info = parts(talk.ask("process info", r.COM_PROCESS_INFO))
    assert info == "E" or set(info) <= set("CDRXO")
    fields = parts(talk.ask("fields", r.COM_FIELD_LIST, b"t\0%"))
    assert fields in ("DD" + end, "E")
    assert parts(talk.ask("fields", r.COM_FIELD_LIST, b"none\0%")) == "E"


def transactions(talk: Talk) -> None:
    """Status flags follow the transaction; after an error they are not known until somebody asks."""
    inside, automatic = r.SERVER_STATUS_IN_TRANS, r.SERVER_STATUS_AUTOCOMMIT

    def status(text: str) -> int | None:
        return talk.query(text)[-1].status

    assert (status("SELECT 1") or 0) & (inside | automatic) == automatic
    assert (status("BEGIN") or 0) & inside
    assert (status("SELECT * FROM t") or 0) & inside
    assert status("INSERT INTO t VALUES (1, 'again')") is None
    assert (status("SELECT 1") or 0) & inside
    assert not (status("COMMIT") or 0) & inside
    assert not (status("SET autocommit = 0") or 0) & automatic
    assert (status("SELECT * FROM t") or 0) & inside
    assert (status("ROLLBACK AND CHAIN") or 0) & inside
    assert not (status("SET autocommit = 1") or 0) & inside
    assert (status("START TRANSACTION READ ONLY") or 0) & r.SERVER_STATUS_IN_TRANS_READONLY
    assert not (status("ROLLBACK") or 0) & inside
    assert (status("BEGIN; SELECT 1") or 0) & inside
    assert not (status("CREATE TABLE IF NOT EXISTS two (c INT)") or 0) & inside


def files(talk: Talk, ends: str) -> None:
    """LOAD DATA LOCAL INFILE."""
    end = "X" if ends else "O"
    load = "LOAD DATA LOCAL INFILE 'some file' INTO TABLE two"
    allowed = talk.client.flags & c.CLIENT_LOCAL_FILES
    if not allowed:
        assert parts(talk.query(load)) == "E"
        return
    loaded = talk.query(load, b"1\n2\n")
    assert parts(loaded) == "FO", loaded
    assert talk.heard[-1][1][0].payload == r.local_infile(b"some file")
    assert parts(talk.query(load, b"")) == "FO"
    # What looks like commands is data.
    assert parts(talk.query(load, b"\x01\x03SELECT 1\n" * 500)) in ("FO", "FE")
    assert parts(talk.query(f"{load}; {load}; SELECT 5", b"5\n" * 2000, b"6\n")) == "FOFOCD" + ends + "R" + end
    assert parts(talk.query("LOAD DATA LOCAL INFILE 'f' INTO TABLE nowhere", b"1\n")) in ("E", "FE")
    assert parts(talk.query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (a, b)", b"1\tdouble\n77\tnew\n")) in ("FO", "FE")


def statements(talk: Talk, ends: str) -> None:
    """Prepared statements, with cursors and long data."""
    end = "X" if ends else "O"
    assert parts(talk.prepare("SELEC")[1]) == "E"
    nothing, answer = talk.prepare("DO 1")
    assert parts(answer) == "P"
    assert parts(talk.execute(nothing)) == "O"
    plain, answer = talk.prepare("SELECT a, b FROM t ORDER BY a")
    assert parts(answer) == "PDD" + ends
    rows = parts(talk.execute(plain))
    assert rows.startswith("CDD" + ends + "RRRR")
    assert rows.endswith("R" + end)
    asked, answer = talk.prepare("SELECT ?, ?")
    assert parts(answer) == "PDD" + ends + "DD" + ends
    assert parts(talk.execute(asked, (b"x", b"y"))) == "CDD" + ends + "R" + end
    insert, answer = talk.prepare("INSERT INTO t (b) VALUES (?)")
    assert parts(answer) == "PD" + ends
    assert parts(talk.execute(insert, (b"three",))) == "O"
    assert parts(talk.ask("long data", r.COM_STMT_SEND_LONG_DATA, struct.pack("<IH", insert, 0) + b"long")) == ""
    assert parts(talk.ask("long data", r.COM_STMT_SEND_LONG_DATA, struct.pack("<IH", insert, 0) + b"er")) == ""
    assert parts(talk.execute(insert, (None,))) == "O"
    assert lenenc(b"longer") in [one.payload for one in talk.query("SELECT b FROM t ORDER BY a DESC LIMIT 1")]
    assert parts(talk.ask("reset", r.COM_STMT_RESET, struct.pack("<I", insert))) == "O"
    assert parts(talk.ask("reset", r.COM_STMT_RESET, struct.pack("<I", 9999))) == "E"
    assert parts(talk.execute(9999)) == "E"
    # A cursor: definitions, and then rows by COM_STMT_FETCH alone.
    opened = talk.execute(plain, cursor=READ_ONLY_CURSOR)
    assert parts(opened) == "CDD" + end
    assert (opened[-1].status or 0) & r.SERVER_STATUS_CURSOR_EXISTS
    fetched = talk.ask("fetch", r.COM_STMT_FETCH, struct.pack("<II", plain, 2))
    assert parts(fetched) == "RR" + end
    assert (fetched[-1].status or 0) & r.SERVER_STATUS_CURSOR_EXISTS
    last = talk.ask("fetch", r.COM_STMT_FETCH, struct.pack("<II", plain, 1000))
    assert parts(last).endswith("R" + end)
    assert (last[-1].status or 0) & r.SERVER_STATUS_LAST_ROW_SENT
    assert parts(talk.ask("fetch", r.COM_STMT_FETCH, struct.pack("<II", plain, 2))) in ("E", end)
    call, answer = talk.prepare("CALL several(?)")
    assert answer[0].part is Part.PREPARED
    called = talk.execute(call, (b"0",))
    outs = [one for one in called if (one.status or 0) & r.SERVER_PS_OUT_PARAMS and one.part in (Part.OK, Part.EOF)]
    assert outs
    assert parts(called).endswith("O")
    assert parts(talk.ask("close", r.COM_STMT_CLOSE, struct.pack("<I", plain))) == ""
    assert parts(talk.execute(plain)) == "E"


def resets(talk: Talk) -> None:
    """What makes a session new. A server without session tracking, MySQL 5.6, has no COM_RESET_CONNECTION."""
    answer = parts(talk.ask("reset", r.COM_RESET_CONNECTION))
    if not talk.client.flags & c.CLIENT_SESSION_TRACK:
        assert answer == "E"
        return
    assert answer == "O"
    flags = talk.client.flags
    attributes = () if flags & c.CLIENT_CONNECT_ATTRS else None
    # MariaDB and MySQL ask for another proof, as this one is of no plug-in that the user has, or take it as it is.
    change = ChangeUser(OPEN.encode(), b"", DATABASE.encode(), 33, b"mysql_native_password", attributes)
    answer = parts(talk.ask("change user", r.COM_CHANGE_USER, change_user(change)[1:]))
    assert answer in ("O", "AO"), answer


def left_out(talk: Talk, ends: str) -> None:
    """Definitions that the client does not want, where the connection has that."""
    if not talk.client.flags & c.CLIENT_OPTIONAL_RESULTSET_METADATA:
        return
    end = "X" if ends else "O"
    assert parts(talk.query("SET resultset_metadata = 'NONE'")) == "O"
    assert parts(talk.query("SELECT 1, 2")) == "C" + ends + "R" + end
    assert parts(talk.query("SELECT 1; SELECT 2")) == ("C" + ends + "R" + end) * 2
    one, answer = talk.prepare("SELECT ?, 1")
    assert parts(answer) == "P" + ends + ends
    assert parts(talk.execute(one, (b"x",))) == "C" + ends + "R" + end
    assert parts(talk.execute(one, (b"x",), cursor=READ_ONLY_CURSOR)) == ("CX" if ends else "CO")
    assert parts(talk.ask("fetch", r.COM_STMT_FETCH, struct.pack("<II", one, 2))) == "R" + end
    assert parts(talk.prepare("INSERT INTO two VALUES (?)")[1]) == "P" + ends
    assert parts(talk.prepare("SELECT 1")[1]) == "P" + ends
    assert parts(talk.query("SET resultset_metadata = 'FULL'")) == "O"
