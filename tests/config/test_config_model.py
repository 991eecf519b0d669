"""Every setting of the model, found by walking it: ranges, defaults, help, and the manual made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from rdsp.config.hints import all_tables
from rdsp.config.kinds import Duration, Flag, Hidden, HiddenUrl, Kind, OneOf, Size, Text, Whole
from rdsp.config.model import (
    Config,
    Proxy,
    Secret,
    Setting,
    Target,
    TargetGroup,
    UserAuth,
    default_of,
    settings,
)
from rdsp.config.reference import json_schema, markdown
from rdsp.config.units import BadValue

EVERY = [(model, key, about) for _, model in all_tables() for key, about in settings(model).items()]
NAMES = [f"{model.__name__}.{key}" for model, key, _ in EVERY]
STORED = [(model, key, about) for model, key, about in EVERY if hasattr(attrs.fields(model), key)]


def _edges(kind: Kind) -> Iterator[tuple[object, bool]]:
    """Written values at and just over the edges, and whether they are taken."""
    match kind:
        case Whole() | Size():
            yield from [(kind.low, True), (kind.high, True), (kind.low - 1, False), (kind.high + 1, False)]
            yield from [(True, False), (1.5, False), ([], False), (10**5000, False)]
        case Duration():
            yield from [(kind.low, True), (kind.high, True), (kind.low - 0.001, False), (kind.high + 0.001, False)]
            yield from [(f"{int(kind.high)}s", True), (True, False), ("soon", False), (float("nan"), False)]
        case Text() if kind.pattern == Text.__attrs_attrs__.pattern.default:  # type: ignore[attr-defined]
            yield from [("x" * kind.low, True), ("x" * kind.high, True), ("x" * (kind.high + 1), False)]
            yield from [("a\nb", False), ("\0", False), (1, False), ("x" * (kind.low - 1), False)]
        case OneOf():
            yield from [(choice, True) for choice in kind.choices]
            yield from [(kind.choices[0].swapcase(), False), ("", False), (1, False)]
        case Flag():
            yield from [(True, True), (False, True), (1, False), ("true", False)]
        case Hidden():
            yield from [("x", True), ("", False), ("\0", False), (1, False), ("${NOT_SET}", False)]
        case HiddenUrl():
            yield from [("x", True), ("", False), (1, False)]


@pytest.mark.parametrize(("model", "key", "about"), EVERY, ids=NAMES)
def test_a_setting_takes_its_range_and_nothing_beyond(model: type[Any], key: str, about: Setting) -> None:
    for written, taken in _edges(about.kind):
        if taken:
            about.kind.check(about.kind.parse(written, {}))
        else:
            with pytest.raises(BadValue) as caught:
                about.kind.parse(written, {})
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("model", "key", "about"), STORED, ids=[f"{m.__name__}.{k}" for m, k, _ in STORED])
def test_a_default_is_in_its_own_range_and_survives_being_written(model: type[Any], key: str, about: Setting) -> None:
    value = default_of(model, key)
    if value is None:
        return
    about.kind.check(value)
    written = list(value) if isinstance(value, tuple) else value
    assert about.kind.parse(written, {}) == value


@pytest.mark.parametrize(("model", "key", "about"), EVERY, ids=NAMES)
def test_a_setting_explains_itself(model: type[Any], key: str, about: Setting) -> None:
    assert about.help.endswith((".", "`)."))
    assert about.kind.limits()
    assert about.kind.title
    assert about.kind.unit in ("", "percent", "connections", "sessions", "statements", "seconds", "bytes")


def test_a_value_out_of_range_cannot_be_made_in_code_either() -> None:
    with pytest.raises(ValueError, match="max_connections_percent: 0 is not in 1..100"):
        TargetGroup(max_connections_percent=0)
    with pytest.raises(ValueError, match="idle_client_timeout: 28801 is not in 1..28800 seconds"):
        Proxy(idle_client_timeout=28801)
    with pytest.raises(ValueError, match="listen"):
        Proxy(listen=("nowhere",))


@pytest.mark.parametrize(("most", "idle"), [(100, 50), (27, 13), (1, 0), (2, 1)])
def test_the_idle_percentage_is_half_of_the_most_rounded_down(most: int, idle: int) -> None:
    assert TargetGroup(max_connections_percent=most).idle_percent == idle
    assert TargetGroup(max_connections_percent=most, max_idle_connections_percent=1).idle_percent == 1


def test_a_proxy_knows_whether_it_has_any_password() -> None:
    assert not Proxy().has_passwords
    assert not Proxy(target=Target(username="app")).has_passwords
    assert Proxy(target=Target(username="app", password=Secret("x"))).has_passwords
    assert Proxy(auth=(UserAuth(secrets_folder="x"),)).has_passwords


def test_the_reference_page_has_every_setting() -> None:
    page = markdown()
    for where, model in all_tables():
        assert (f"## `{where}`" in page) or model is Config
        for key, about in settings(model).items():
            assert f"### `{key}`" in page
            assert about.help in page
    assert "*integer; range 1..100 percent; default `100`; change: live; RDS Proxy: `MaxConnectionsPercent`*" in page
    assert "default half of `max_connections_percent`, rounded down" in page
    assert "Secret(" not in page


def _at(schema: dict[str, Any], *path: str) -> dict[str, Any]:
    for key in path:
        schema = schema.get("items", schema)["properties"][key]
    return schema


def test_the_json_schema_has_every_setting_with_its_range() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    percent = _at(schema, "proxies", "target_group", "max_connections_percent")
    assert (percent["type"], percent["minimum"], percent["maximum"], percent["default"]) == ("integer", 1, 100, 100)
    assert _at(schema, "logging", "level")["enum"] == ["debug", "info", "warning", "error"]
    assert _at(schema, "proxies", "auth")["items"]["additionalProperties"] is False
    for where, model in all_tables():
        path = where.strip("[]").split(".") if model is not Config else []
        table = _at(schema, *path) if path else schema
        assert set(settings(model)) <= set(table.get("items", table)["properties"])
