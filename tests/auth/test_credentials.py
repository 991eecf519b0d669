"""Passwords by user: where they come from, and how a folder of them is followed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp.auth.credentials import Credentials
from rdsp.auth.folder import BadSecret, SecretsFolder, parse_secret
from rdsp.config.kinds import Hidden
from rdsp.config.load import from_target, loads
from rdsp.config.model import Proxy, Secret, Target, UserAuth
from rdsp.config.units import BadValue
from rdsp.errors import ConfigError


@attrs.define
class Clock:
    """Stands still until it is told."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def write(folder: Path, name: str, user: str, password: str) -> None:
    """As an orchestrator would: a new file, put in place at once."""
    fresh = folder / f".{name}.new"
    fresh.write_text(json.dumps({"username": user, "password": password, "host": "ignored", "port": 5432}))
    fresh.rename(folder / name)


def settings(folder: Path | None = None, *entries: tuple[str, str]) -> Proxy:
    auth = [UserAuth(username=user, password=Secret(password)) for user, password in entries]
    if folder is not None:
        auth.append(UserAuth(secrets_folder=str(folder)))
    return Proxy(target=Target(username="app", password=Secret("of-url")), auth=tuple(auth))


def test_users_of_the_target_and_of_the_file_are_known_and_others_are_not() -> None:
    credentials = Credentials(settings(None, ("batch", "one")))
    assert credentials.passwords("app") == ("of-url",)
    assert credentials.passwords("batch") == ("one",)
    assert credentials.passwords("nobody") == ()
    assert credentials.passwords("batch")[0] == "one"
    assert credentials.passwords("nobody") == ()
    assert (credentials.knows("app"), credentials.knows("nobody"), credentials.knows("APP")) == (True, False, False)


def test_several_passwords_of_one_user_are_all_valid_each_once() -> None:
    credentials = Credentials(settings(None, ("app", "second"), ("app", "of-url"), ("app", "third")))
    assert credentials.passwords("app") == ("of-url", "second", "third")


@pytest.mark.parametrize(
    ("proxy", "is_open"),
    [
        (Proxy(), True),
        (Proxy(target=Target(username="app")), True),
        (settings(), False),
        (Proxy(auth=(UserAuth(secrets_folder="nowhere"),)), False),
    ],
)
def test_only_a_proxy_without_any_source_of_passwords_is_open_to_local_clients(proxy: Proxy, is_open: bool) -> None:
    assert Credentials(proxy).open_to_local is is_open


def test_a_folders_users_are_known_and_its_password_is_the_newest(tmp_path: Path) -> None:
    write(tmp_path, "a.json", "app", "of-folder")
    write(tmp_path, "b.json", "batch", "two")
    (tmp_path / "notes.txt").write_text("not a secret")
    credentials = Credentials(settings(tmp_path), clock=Clock())
    assert credentials.passwords("app") == ("of-folder", "of-url")
    assert credentials.passwords("batch")[0] == "two"


def test_a_changed_file_is_read_again_but_not_before_a_second_is_over(tmp_path: Path) -> None:
    clock = Clock()
    write(tmp_path, "a.json", "batch", "old")
    credentials = Credentials(settings(tmp_path), clock=clock)
    assert credentials.passwords("batch") == ("old",)
    write(tmp_path, "a.json", "batch", "new")
    clock.now += 0.99
    assert credentials.passwords("batch") == ("old",)
    clock.now += 0.02
    assert credentials.passwords("batch") == ("new",)


def test_a_file_that_is_new_or_gone_is_noticed(tmp_path: Path) -> None:
    clock = Clock()
    credentials = Credentials(settings(tmp_path), clock=clock)
    assert not credentials.knows("batch")
    write(tmp_path, "a.json", "batch", "x")
    clock.now += 1
    assert credentials.knows("batch")
    (tmp_path / "a.json").unlink()
    clock.now += 1
    assert not credentials.knows("batch")


def test_a_link_that_is_pointed_elsewhere_is_a_change(tmp_path: Path) -> None:
    clock = Clock()
    for version, password in (("v1", "old"), ("v2", "new")):
        (tmp_path / version).mkdir()
        write(tmp_path / version, "a.json", "batch", password)
        os.utime(tmp_path / version / "a.json", (1, 1))  # only the inode tells them apart
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "a.json").symlink_to(tmp_path / "v1" / "a.json")
    credentials = Credentials(settings(folder), clock=clock)
    assert credentials.passwords("batch") == ("old",)
    (folder / "next").symlink_to(tmp_path / "v2" / "a.json")
    (folder / "next").rename(folder / "a.json")
    clock.now += 1
    assert credentials.passwords("batch") == ("new",)


def test_a_broken_file_keeps_its_last_good_value_and_is_reported_once(tmp_path: Path) -> None:
    clock, reports = Clock(), list[str]()
    write(tmp_path, "a.json", "batch", "good-one")
    credentials = Credentials(settings(tmp_path), clock=clock, report=reports.append)
    assert credentials.knows("batch")
    (tmp_path / "a.json").write_text('{"username": "batch", "password": hunter2')
    for _ in range(3):
        clock.now += 1
        assert credentials.passwords("batch") == ("good-one",)
    (report,) = reports
    assert "a.json is not JSON (line 1, column 35); its last good value stays valid" in report
    assert "hunter2" not in report
    write(tmp_path, "a.json", "batch", "mended")
    clock.now += 1
    assert credentials.passwords("batch") == ("mended",)
    assert len(reports) == 1


def test_two_files_of_one_user_are_both_valid_the_newer_first(tmp_path: Path) -> None:
    for name, password, time in (("a.json", "older", 1000), ("b.json", "newer", 2000)):
        write(tmp_path, name, "batch", password)
        os.utime(tmp_path / name, (time, time))
    assert Credentials(settings(tmp_path)).passwords("batch") == ("newer", "older")


def test_a_folder_that_goes_away_keeps_what_was_read_and_is_reported_once(tmp_path: Path) -> None:
    clock, reports = Clock(), list[str]()
    folder = tmp_path / "secrets"
    folder.mkdir()
    write(folder, "a.json", "batch", "x")
    credentials = Credentials(settings(folder), clock=clock, report=reports.append)
    assert credentials.knows("batch")
    folder.rename(tmp_path / "elsewhere")
    for _ in range(3):
        clock.now += 1
        assert credentials.knows("batch")
    assert len(reports) == 1
    assert "No such file or directory" in reports[0]


@pytest.mark.parametrize("bad", ["folder", "large"])
def test_what_is_no_small_file_is_reported_and_not_read(tmp_path: Path, bad: str) -> None:
    reports: list[str] = []
    if bad == "folder":
        (tmp_path / "a.json").mkdir()
    else:
        (tmp_path / "a.json").write_text(json.dumps({"username": "batch", "password": "x" * 70000}))
    folder = SecretsFolder(str(tmp_path), reports.append)
    assert folder.passwords("batch", 0.0) == ()
    assert len(reports) == 1


def test_a_reload_changes_users_and_keeps_what_a_folder_knows(tmp_path: Path) -> None:
    clock = Clock()
    write(tmp_path, "a.json", "batch", "x")
    credentials = Credentials(settings(tmp_path, ("old", "1")), clock=clock)
    assert credentials.knows("batch")
    (tmp_path / "a.json").write_text("broken")
    clock.now += 1
    credentials.update(settings(tmp_path, ("new", "2")))
    assert (credentials.knows("old"), credentials.knows("new"), credentials.knows("batch")) == (False, True, True)
    credentials.update(Proxy())
    assert credentials.open_to_local
    assert not credentials.knows("batch")


def test_no_repr_shows_a_password(tmp_path: Path) -> None:
    write(tmp_path, "a.json", "batch", "hunter2")
    credentials = Credentials(settings(tmp_path, ("x", "hunter2")))
    assert credentials.knows("batch")
    folder = SecretsFolder(str(tmp_path), print)
    assert folder.passwords("batch", 0.0) == ("hunter2",)
    for text in (repr(credentials), repr(folder), repr(folder._files), str(credentials)):
        assert "hunter2" not in text


@given(st.text(min_size=1), st.text(min_size=1), st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_secret_of_secrets_manager_is_read(user: str, password: str, rest: dict[str, object]) -> None:
    assert parse_secret(json.dumps({**rest, "username": user, "password": password}).encode()) == (user, password)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["username", "password"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_other_bytes_are_a_bad_secret_and_nothing_else(data: bytes) -> None:
    try:
        user, password = parse_secret(data)
    except BadSecret as error:
        assert str(error).startswith(("is not JSON", "is not a JSON object", "has no text under"))
    else:
        assert user
        assert password


@pytest.mark.parametrize("key", ["username", "password"])
def test_half_a_character_in_a_secret_is_reported_and_not_shown(tmp_path: Path, key: str) -> None:
    reports: list[str] = []
    secret = {"username": "batch", "password": "hunter2", key: "hunter2\udce9"}
    (tmp_path / "a.json").write_text(json.dumps(secret))
    folder = SecretsFolder(str(tmp_path), reports.append)
    assert folder.passwords("batch", 0.0) == folder.passwords("hunter2\udce9", 0.0) == ()
    (report,) = reports
    assert f'has no text under "{key}" that UTF-8 could hold' in report
    assert "hunter2" not in report


@pytest.mark.parametrize(
    "target",
    [
        'target.host = "db"\ntarget.username = "app"\ntarget.password = "${PGPW}"',
        'target.url = "postgresql://app:${PGPW}@db/shop"',
    ],
)
def test_a_variable_that_is_no_utf_8_is_a_fault_that_does_not_show_it(target: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loads(f"[[proxies]]\n{target}\n", environ={"PGPW": "hunter2\udce9"})
    assert "the environment variable PGPW is not UTF-8 text" in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "dce9" not in str(raised.value)


def test_a_url_of_the_command_line_that_is_no_utf_8_is_a_fault_that_does_not_show_it() -> None:
    with pytest.raises(ConfigError) as raised:
        from_target("postgresql://app:hunter2\udce9@db/shop", "127.0.0.1:0", environ={})
    assert "--target: is not UTF-8 text" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_secret_that_is_no_utf_8_is_no_secret() -> None:
    with pytest.raises(BadValue, match="^is not UTF-8 text$"):
        Hidden().check(Secret("hunter2\udce9"))


@pytest.mark.parametrize("data", [b"[" * 100_000, b"1" * 5000, b"\xff", b""])
def test_hostile_bytes_are_a_bad_secret(data: bytes) -> None:
    with pytest.raises(BadSecret, match="is not JSON"):
        parse_secret(data)
