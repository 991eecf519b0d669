"""Real clients at real servers, recorded: every packet that we read is written again as it was, byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pymysql
import pytest

from rdsp_codecs.mysql import capabilities as c
from tests.live.mysql.reading import Reading
from tests.servers.mysql import DATABASE, PASSWORD, USER, MySqlServer, installation
from tests.servers.recorder import Recorder

SCRIPT = """
SELECT 1; SELECT NULL, 'a', 2.5;
CREATE TABLE IF NOT EXISTS recorded (a INT AUTO_INCREMENT PRIMARY KEY, b LONGTEXT);
INSERT INTO recorded (b) VALUES ('x'), ('y'), (REPEAT('z', 70000));
UPDATE recorded SET b = 'q' WHERE a = 1;
SELECT * FROM recorded;
BEGIN; SELECT COUNT(*) FROM recorded; ROLLBACK;
SET SESSION sql_mode = 'ANSI_QUOTES'; SET NAMES utf8mb4; SET @x = 1;
LOAD DATA LOCAL INFILE '{file}' INTO TABLE recorded (b);
SHOW WARNINGS; USE other; SELECT DATABASE(); DROP TABLE app.recorded;
SELECT nothing;
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows"
    path.write_text("one\ntwo\n" * 5000)
    return path


def _one(recorder: Recorder) -> Reading:
    assert recorder.connections
    return Reading(*map(bytes, recorder.connections[-1]))


def test_pymysql_is_read_to_the_last_byte(mysql: MySqlServer, file: Path) -> None:
    with Recorder(mysql.port) as recorder:
        given = {"user": USER, "password": PASSWORD.encode(), "database": DATABASE, "ssl_disabled": True}
        connection = pymysql.connect(host="127.0.0.1", port=recorder.port, local_infile=True, **given)
        with connection, connection.cursor() as cursor:
            for text in SCRIPT.format(file=file).split(";")[:-2]:
                cursor.execute(text)
            with pytest.raises(pymysql.MySQLError):
                cursor.execute("SELECT nothing")
            connection.ping()
            connection.select_db(DATABASE)
            connection.commit()
    reading = _one(recorder)

    assert reading.response.user == USER.encode()
    assert dict(reading.response.attributes or ())[b"_client_name"] == b"pymysql"
    assert not reading.flags & c.CLIENT_DEPRECATE_EOF
    assert (reading.seen["login"], reading.seen["FILE"], reading.seen["ERR"]) == (1, 1, 1)
    assert reading.seen["command 0x3"] >= 18
    assert reading.seen["ROW"] >= 7
    assert reading.seen["EOF"] == 2 * reading.seen["COUNT"]


def command_lines(version: str) -> list[list[str]]:
    """Debian's own, and for a server out of unpacked packages the one that came with it."""
    mine = shutil.which("mariadb")
    found = [[mine]] if mine else []
    one = installation(version)
    if len(one.program) > 1:
        name = "mariadb" if one.mariadb else "mysql"
        found.append([*map(str, one.program[:-1]), str(one.base / "bin" / name)])
    return found


def test_command_lines_are_read_to_the_last_byte(mysql: MySqlServer, file: Path) -> None:
    programs = command_lines(mysql.version)
    assert programs
    for program in programs:
        with Recorder(mysql.port) as recorder:
            of_mysql = program[-1].endswith("/mysql")
            tls = "--ssl-mode=DISABLED" if of_mysql else "--skip-ssl"
            more = ["--get-server-public-key"] if of_mysql else []
            plugins = (
                [f"--plugin-dir={mysql.installation.plugins}"]
                if len(program) > 1 and mysql.installation.plugins
                else []
            )
            done = subprocess.run(
                [
                    *program, "--no-defaults", "--protocol=tcp", "-h127.0.0.1", f"-P{recorder.port}", f"-u{USER}",
                    f"-p{PASSWORD}", tls, *more, *plugins, "--local-infile=1", "--default-character-set=utf8mb4", DATABASE,
                ],
                input=SCRIPT.format(file=file), capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert "nothing" in done.stderr, done.stderr
        reading = _one(recorder)
        assert reading.response.user == USER.encode()
        assert reading.response.attributes is not None
        assert reading.seen["FILE"] == 1, done.stderr
        assert reading.seen["ERR"] >= 1
        assert reading.seen["command 0x1"] == 1
        # As MariaDB's own client has it, the classic form; MySQL's has the other one.
        assert bool(reading.flags & c.CLIENT_DEPRECATE_EOF) is of_mysql
        assert bool(reading.flags & c.CLIENT_QUERY_ATTRIBUTES) is of_mysql
        assert not reading.flags & c.CLIENT_OPTIONAL_RESULTSET_METADATA
        assert bool(reading.flags & c.EXTENDED) is mysql.version.startswith("mariadb")
