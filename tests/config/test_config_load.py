"""Reading a configuration: what is taken, and what every fault is told as."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rdsp.config.load import from_target, load, loads
from rdsp.config.model import Config, Secret, Target, TargetGroup
from rdsp.errors import ConfigError
from rdsp_codecs.registry import Registry

Load = Callable[..., Config]
Faults = Callable[..., list[str]]

BASE = """
[[proxies]]
listen = "127.0.0.1:6432"
target.url = "postgresql://app:secret@db.example/shop"
"""


def group(line: str) -> str:
    return f"{BASE}\n[proxies.target_group]\n{line}\n"


# --- What is taken --------------------------------------------------------------------------------------------------


def test_a_smallest_file_has_the_defaults_of_rds_proxy(read: Load) -> None:
    proxy = read(BASE).proxies[0]
    assert (proxy.name, proxy.engine, proxy.listen) == ("default", "postgres", ("127.0.0.1:6432",))
    assert proxy.idle_client_timeout == 1800
    assert not proxy.require_tls
    assert proxy.target_group == TargetGroup()
    assert (proxy.target_group.max_connections_percent, proxy.target_group.idle_percent) == (100, 50)
    assert proxy.target_group.connection_borrow_timeout == 120
    assert proxy.limits.client_lifetime == 86400
    assert proxy.target == Target(
        host=("db.example",), port=5432, database="shop", username="app", password=Secret("secret")
    )


def test_every_part_of_a_full_file_is_read(read: Load) -> None:
    config = read(
        """
        [logging]
        level = "debug"
        format = "json"

        [[proxies]]
        name = "orders"
        engine = "postgres"
        listen = ["127.0.0.1:1", "[::1]:1", 2]
        require_tls = true
        idle_client_timeout = "5m"
        auth_methods = ["scram-sha-256"]
        [[proxies.auth]]
        username = "batch"
        password = "two"
        [proxies.tls]
        self_signed_names = ["proxy.example", "10.0.0.1"]
        [proxies.target]
        host = "::1"
        port = 5433
        tls = "verify-full"
        connect_timeout = "500ms"
        [proxies.target_group]
        max_connections_percent = 27
        connection_borrow_timeout = 0
        init_query = "SET a = '${not a variable}'"
        max_backends = 20
        [proxies.limits]
        max_held_bytes = "1MiB"

        [[proxies]]
        name = "shop"
        engine = "mysql"
        listen = 3
        target.host = "db.example"
        target_group.session_pinning_filters = ["EXCLUDE_VARIABLE_SETS"]
        """
    )
    orders, shop = config.proxies
    assert config.logging.level == "debug"
    assert orders.listen == ("127.0.0.1:1", "[::1]:1", "0.0.0.0:2")
    assert orders.idle_client_timeout == 300
    assert orders.auth[0].password == Secret("two")
    assert orders.tls.self_signed_names == ("proxy.example", "10.0.0.1")
    assert (orders.target.host, orders.target.port, orders.target.connect_timeout) == (("::1",), 5433, 0.5)
    assert orders.target_group.idle_percent == 13
    assert orders.target_group.init_query == "SET a = '${not a variable}'"
    assert orders.limits.max_held_bytes == 1 << 20
    assert (shop.engine, shop.target.port) == ("mysql", 3306)
    assert shop.target_group.session_pinning_filters == ("EXCLUDE_VARIABLE_SETS",)


@pytest.mark.parametrize(
    ("lines", "engine"),
    [
        ('engine = "postgres"\ntarget.host = "h"', "postgres"),
        ('engine_family = "POSTGRESQL"\ntarget.host = "h"', "postgres"),
        ('engine_family = "MYSQL"\ntarget.host = "h"', "mysql"),
        ('target.url = "mariadb://h"', "mariadb"),
        ('engine = "mariadb"\nengine_family = "MYSQL"\ntarget.url = "mariadb://h"', "mariadb"),
        ('target.host = "h"', "postgres"),
    ],
)
def test_the_engine_comes_from_its_name_its_family_or_the_url(read: Load, lines: str, engine: str) -> None:
    assert read(f"[[proxies]]\nlisten = 1\n{lines}").proxies[0].engine == engine


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("postgresql://h", Target(("h",), 5432)),
        ("postgresql://a:1,b,[::1]:3/d", Target(("a:1", "b", "[::1]:3"), 5432, "d")),
        ("postgresql://u@/d?host=/run/pg&port=5433", Target(("/run/pg",), 5433, "d", "u")),
        ("postgresql://%2Frun%2Fpg:7", Target(("/run/pg",), 7)),
        ("postgresql:///d?host=a,/run/b&port=1,2", Target(("a:1", "/run/b:2"), 5432, "d")),
        ("postgresql:///d?host=a,%40b&port=7", Target(("a:7", "@b:7"), 5432, "d")),
        ("postgresql://h?target_session_attrs=read-write", Target(("h",), 5432, target_session_attrs="read-write")),
        ("POSTGRES://h:1/", Target(("h",), 1)),
        ("postgresql://u@[::1]:7/d", Target(("::1",), 7, "d", "u")),
        ("postgresql://u%40x:p%2F%3a%25%23@h/d%20e", Target(("h",), 5432, "d e", "u@x", Secret("p/:%#"))),
        ("postgresql://u:p@ss:w@h", Target(("h",), 5432, None, "u", Secret("p@ss:w"))),
        ("postgresql://u:a${PW}b@h", Target(("h",), 5432, None, "u", Secret("ax%41b"))),
        (
            "postgresql://h/d?sslmode=require&connect_timeout=7",
            Target(("h",), 5432, "d", tls="require", connect_timeout=7),
        ),
        (
            "postgresql://h?sslmode=require&sslnegotiation=direct&channel_binding=require&max_protocol_version=latest",
            Target(
                ("h",),
                5432,
                tls="require",
                tls_negotiation="direct",
                channel_binding="require",
                max_protocol_version="latest",
            ),
        ),
    ],
)
def test_a_url_is_taken_apart_and_percent_decoded(read: Load, url: str, target: Target) -> None:
    config = read(f"[[proxies]]\nlisten = 1\ntarget.url = '{url}'", {"PW": "x%41"})
    assert config.proxies[0].target == target


def test_secrets_take_environment_variables_and_nothing_else_does(read: Load, faults_of: Faults) -> None:
    text = "[[proxies]]\nlisten = 1\n[proxies.target]\nusername = 'u'\npassword = '${A}-$${A}'"
    assert read(text, {"A": "x"}).proxies[0].target.password == Secret("x-${A}")
    assert faults_of(text) == ["proxies[0].target.password: the environment variable A is not set"]
    assert faults_of("[[proxies]]\nlisten = 1\ntarget.host = '${A}'", {"A": "x"}) == [
        "proxies[0].target.host: environment variables (${NAME}) are only put into secrets"
    ]


def test_relative_paths_start_at_the_files_folder(tmp_path: Path, engines: Registry) -> None:
    (tmp_path / "secrets").mkdir()
    file = tmp_path / "rdsp.toml"
    file.write_text(f"{BASE}\n[[proxies.auth]]\nsecrets_folder = 'secrets'\n")
    config = load(file, environ={}, codecs=engines)
    assert config.proxies[0].auth[0].secrets_folder == str(tmp_path / "secrets")


def test_the_command_lines_target_makes_one_proxy(engines: Registry) -> None:
    config = from_target("postgresql://u:p@h/d", ["127.0.0.1:1", "[::1]:1"], 20, environ={}, codecs=engines)
    (proxy,) = config.proxies
    assert proxy.target == Target(("h",), 5432, "d", "u", Secret("p"))
    assert proxy.listen == ("127.0.0.1:1", "[::1]:1")
    assert proxy.target_group.max_backends == 20


# --- Faults ---------------------------------------------------------------------------------------------------------


def test_the_command_lines_faults_have_its_options_as_paths(engines: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        from_target("postgresql://u:hunter2@h:99999999/d", "nowhere", 0, environ={}, codecs=engines)
    assert [fault.path for fault in caught.value.faults] == ["--listen", "--target", "--max-backends"]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["proxies: missing; a [[proxies]] table says what to run"]),
        ("proxies = 1", ["proxies: expected an array of tables ([[proxies]]), got 1"]),
        ("proxies = [1]", ["proxies[0]: expected a table, got 1"]),
        ("[[proxies]]\nlisten = 1", ["proxies[0].target: missing; give url, or host and what goes with it"]),
        ("[[proxies]]\ntarget.host = 'h'", ["proxies[0].listen: missing; at least one address is needed"]),
        (group("max_connections_percent = 0"), ["proxies[0].target_group.max_connections_percent: 0 is not in 1..100"]),
        (
            group("max_connections_percent = '5'"),
            ['proxies[0].target_group.max_connections_percent: expected an integer in 1..100, got "5"'],
        ),
        (
            group("max_connections_percent = 20\nmax_idle_connections_percent = 21"),
            ["proxies[0].target_group.max_idle_connections_percent: 21 is not in 0..20 (max_connections_percent)"],
        ),
        (
            group("connection_borrow_timeout = '6m'"),
            ["proxies[0].target_group.connection_borrow_timeout: 360 is not in 0..300 seconds"],
        ),
        (
            group("session_pinning_filters = ['EXCLUDE_VARIABLE_SETS']"),
            [
                (
                    'proxies[0].target_group.session_pinning_filters: the engine "postgres" does not take '
                    "EXCLUDE_VARIABLE_SETS (it takes none)"
                )
            ],
        ),
        (
            "[[proxies]]\nlisten = 1\n[proxies.target]\nurl = 'mysql://h'\nchannel_binding = 'require'\n"
            "[proxies.target_group]\npin_sequences = true\nstrict_session_state = true",
            [
                'proxies[0].target.channel_binding: the engine "mysql" does not have this',
                'proxies[0].target_group.pin_sequences: the engine "mysql" does not have this',
            ],
        ),
        (
            group("session_pinning_filters = ['EVERYTHING']"),
            ['proxies[0].target_group.session_pinning_filters: "EVERYTHING" is not one of EXCLUDE_VARIABLE_SETS'],
        ),
        (
            f"{BASE}\n[proxies.tls]\ncertificate = 'a.pem'",
            ["proxies[0].tls.private_key: missing; it belongs to certificate"],
        ),
        (
            f"{BASE}\nrequire_tls = true\n[proxies.tls]\nenabled = false",
            ["proxies[0].require_tls: cannot be true while tls.enabled is false"],
        ),
        (
            f"{BASE}\ntarget.tls_negotiation = 'direct'",
            [
                'proxies[0].target.tls_negotiation: "direct" needs tls to be "require" or stricter, and it is "prefer"',
            ],
        ),
        (
            f"{BASE}\ntarget.tls = 'disable'\ntarget.channel_binding = 'require'",
            ['proxies[0].target.channel_binding: "require" needs TLS, and tls is "disable"'],
        ),
        (f"{BASE}\n[[proxies.auth]]", ["proxies[0].auth[0]: is empty; give username and password, or secrets_folder"]),
        (
            f"{BASE}\n[[proxies.auth]]\npassword = 'x'",
            ["proxies[0].auth[0].username: missing; a password needs its user"],
        ),
        (
            f"{BASE}\n[[proxies.auth]]\nusername = 'x'",
            ["proxies[0].auth[0].password: missing; a user needs a password"],
        ),
        (
            f"{BASE}\n[[proxies.auth]]\nusername = 'x'\npassword = ''",
            ["proxies[0].auth[0].password: is empty; leave it out when there is no password"],
        ),
        (
            f"{BASE}\nengine = 'postgers'",
            [
                (
                    'proxies[0].engine: no engine "postgers" is installed '
                    '(there are: mariadb, mysql, postgres); did you mean "postgres"?'
                )
            ],
        ),
        (
            f"{BASE}\nengine = 'mysql'",
            ['proxies[0].target.url: the engine "mysql" has the URL schemes mysql, not "postgresql"'],
        ),
        (
            f"{BASE}\nengine_family = 'MYSQL'",
            ['proxies[0].target.url: the engine "mysql" has the URL schemes mysql, not "postgresql"'],
        ),
        (
            f"{BASE}\nauth_methods = ['md5', 'scram']",
            ['proxies[0].auth_methods: the engine "postgres" does not have "scram" (it has scram-sha-256, md5)'],
        ),
        (f"{BASE}\ntarget.host = 'h'", ["proxies[0].target.host: stands in url too; give it once"]),
        (f"{BASE}\nname = 'a--b'", ['proxies[0].name: "a--b" is not letters, digits and single inner hyphens']),
        (f"{BASE}\ndebug_logging = 'yes'", ['proxies[0].debug_logging: expected true or false, got "yes"']),
    ],
)
def test_a_fault_says_where_and_what_is_expected(faults_of: Faults, text: str, lines: list[str]) -> None:
    assert faults_of(text) == lines


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("max_conections_percent = 1", "max_connections_percent"),
        ("MaxConnectionsPercent = 1", "max_connections_percent"),
        ("max-backends = 1", "max_backends"),
        ("InitQuery = ''", "init_query"),
        ("idle_client_timeout = 1", "idle_client_timeout"),
        ("max_held_bytes = 1", "max_held_bytes"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(faults_of: Faults, line: str, hint: str) -> None:
    (fault,) = faults_of(group(line))
    assert "unknown key" in fault
    assert f'did you mean "{hint}"' in fault


def test_a_key_in_the_wrong_table_is_told_the_right_one(faults_of: Faults) -> None:
    assert faults_of(f"{BASE}\nmax_backends = 1") == [
        'proxies[0].max_backends: unknown key; did you mean "max_backends" in [proxies.target_group]?'
    ]


def test_a_key_like_no_other_is_just_unknown(faults_of: Faults) -> None:
    assert faults_of(f"{BASE}\n\"zz zz\" = 'hunter2'") == ['proxies[0]."zz zz": unknown key']


def test_all_faults_are_told_at_once(faults_of: Faults) -> None:
    found = faults_of(
        """
        bogus = 1
        [logging]
        level = "loud"
        [[proxies]]
        name = "same"
        listen = "127.0.0.1:1"
        idle_client_timeout = 0
        target.url = "postgresql://h"
        [[proxies]]
        name = "same"
        listen = "0.0.0.0:1"
        target.port = 70000
        """
    )
    paths = [line.partition(": ")[0] for line in found]
    assert sorted(paths) == [
        "bogus",
        "logging.level",
        "proxies[0].idle_client_timeout",
        "proxies[1].listen",
        "proxies[1].name",
        "proxies[1].target.port",
    ]


def test_a_proxy_does_not_listen_on_its_own_target(faults_of: Faults) -> None:
    assert faults_of("[[proxies]]\nlisten = 5432\ntarget.url = 'postgresql://localhost'") == [
        "proxies[0].listen: 0.0.0.0:5432 is the proxy's own target: it would connect to itself"
    ]


def test_a_syntax_error_says_its_line(faults_of: Faults) -> None:
    (fault,) = faults_of("[logging]\nlevel = \n")
    assert fault.startswith("line 2, column 9: not TOML: ")


def test_a_text_that_breaks_off_is_a_syntax_error(faults_of: Faults) -> None:
    (fault,) = faults_of('a = "x')
    assert "not TOML" in fault


def test_nesting_without_end_is_a_fault_and_not_a_crash(faults_of: Faults) -> None:
    assert faults_of("a = " + "[" * 100_000) == ["is nested too deeply"]


def test_a_file_that_is_not_there_is_one_fault_with_its_name(tmp_path: Path, engines: Registry) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as caught:
        load(path, codecs=engines)
    assert caught.value.source == str(path)
    assert str(caught.value) == "cannot be read: No such file or directory"


def test_a_file_that_is_not_utf_8_is_one_fault(tmp_path: Path, engines: Registry) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="is not UTF-8 text \\(byte 5\\)"):
        load(path, codecs=engines)


def test_files_that_the_configuration_names_must_be_there(tmp_path: Path, engines: Registry) -> None:
    path = tmp_path / "rdsp.toml"
    (tmp_path / "file").touch()
    path.write_text(
        f"{BASE}\n[proxies.tls]\ncertificate = 'none.pem'\nprivate_key = '.'\n[[proxies.auth]]\nsecrets_folder = 'file'\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, codecs=engines)
    found = {fault.path: fault.text for fault in caught.value.faults}
    assert "does not exist" in found["proxies[0].tls.certificate"]
    assert "is not a file" in found["proxies[0].tls.private_key"]
    assert "is not a folder" in found["proxies[0].auth[0].secrets_folder"]


# --- Secrets --------------------------------------------------------------------------------------------------------

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{PASSWORD}@h:x/d",
        f"postgresql://u:{PASSWORD}/@h/d",
        f"postgresql://u:{PASSWORD}#@h/d",
        f"postgresql://u:{PASSWORD}",
        f"postgresql://u:{PASSWORD}%zz@h",
        f"postgresql://u:{PASSWORD}%ff@h",
        f"postgresql://u:{PASSWORD}@h,,i/d",
        f"postgresql://u:{PASSWORD}@h/d?{PASSWORD}=1",
        f"postgresql://u:{PASSWORD}@h/d?sslmode={PASSWORD}",
        f"postgresql://u:{PASSWORD}@[::1/d",
        f"postgresql://u:{PASSWORD}@a b/d",
        f"nosuch://u:{PASSWORD}@h/d",
        f"u:{PASSWORD}@h/d",
        f"postgresql://:{PASSWORD}@h/d",
        f"postgresql://{PASSWORD}${{NOT_SET}}@h",
        f"postgresql://u:{PASSWORD}${{NOT_SET}}@h",
    ],
)
def test_a_faulty_url_shows_nothing_of_its_password(faults_of: Faults, url: str) -> None:
    for line in faults_of(f"[[proxies]]\nlisten = 1\ntarget.url = '{url}'"):
        assert PASSWORD not in line
        assert line.startswith("proxies[0].target")


@pytest.mark.parametrize(
    "value", ["12345678", "true", "['hunter2']", "{a='hunter2'}", "'hunter2\\u0000'", "1979-05-27"]
)
def test_a_faulty_password_is_not_shown(faults_of: Faults, value: str) -> None:
    value = value.replace("'", '"')
    for line in faults_of(f"[[proxies]]\nlisten = 1\n[proxies.target]\nusername = 'u'\npassword = {value}"):
        assert line.startswith("proxies[0].target.password: ")
        assert not any(part in line for part in ("hunter2", "12345678", "true", "1979"))


@pytest.mark.parametrize("key", ["target", "target.host", "target.username", "listen", "auth", "name", "engine", "odd"])
def test_a_url_in_the_wrong_place_shows_no_password(read: Load, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"[[proxies]]\n{key} = 'postgresql://u:hunter2@h/d'\n")
    assert "hunter2" not in str(caught.value)


def test_no_text_of_a_configuration_has_its_secrets(read: Load) -> None:
    config = read(f"{BASE}\n[[proxies.auth]]\nusername = 'b'\npassword = '{PASSWORD}'\n")
    for text in (repr(config), str(config), f"{config}", repr(config.proxies[0].target.password)):
        assert PASSWORD not in text
        assert "secret'" not in text


words = st.sampled_from(["proxies", "target", "url", "listen", "engine", "auth", "tls", "target_group", "x", "limits"])
values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just("postgresql://u:p@h"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "")


@given(raw=st.dictionaries(words, values, max_size=5))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_toml_gives_a_configuration_or_faults_and_nothing_else(engines: Registry, raw: dict[str, object]) -> None:
    text = "\n".join(f"{key} = {_toml(value)}" for key, value in raw.items())
    try:
        config = loads(text, environ={}, codecs=engines)
    except ConfigError as error:
        assert error.faults
        assert all("\n" not in str(fault) for fault in error.faults)
    else:
        assert config.proxies
