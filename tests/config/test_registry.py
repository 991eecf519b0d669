"""Finding engines among entry points."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rdsp_codecs.errors import PluginError
from rdsp_codecs.postgres import CODEC
from rdsp_codecs.registry import GROUP, Registry

RegistryOf = Callable[..., Registry]


def test_an_engine_is_found_by_name_scheme_and_family(engines: Registry) -> None:
    assert engines.find("postgres").default_port == 5432
    assert engines.for_scheme("PostgreSQL").name == "postgres"
    assert engines.for_family("POSTGRESQL").name == "postgres"


def test_of_a_family_the_engine_with_its_name_comes_first(engines: Registry) -> None:
    assert engines.for_family("MYSQL").name == "mysql"


def test_what_is_not_installed_is_refused_with_what_is(engines: Registry) -> None:
    with pytest.raises(PluginError, match=r'no engine "oracle" is installed \(there are: mariadb, mysql, postgres\)$'):
        engines.find("oracle")
    with pytest.raises(PluginError, match='URL scheme "postgre" .*did you mean "postgres"'):
        engines.for_scheme("postgre")
    with pytest.raises(PluginError, match=r"there are: none"):
        Registry(list).find("postgres")


@pytest.mark.parametrize(
    ("name", "where", "text"),
    [
        ("another", "OF_ANOTHER_API", "is for API 2, this is API 1"),
        (
            "unfinished",
            "UNFINISHED",
            "lacks or has of a wrong type: cancel, default_port, ear, engine_family, features",
        ),
        ("numbered", "NUMBERED", "lacks or has of a wrong type: schemes$"),
        ("misnamed", "MISNAMED", 'calls itself "other-name"'),
        ("absent", "NO_SUCH_NAME", "cannot be loaded: AttributeError"),
        ("numberless", "NUMBERLESS", 'has no API number: it lacks the member "api"'),
        ("prickly", "PRICKLY", "cannot be loaded: RuntimeError: not now, later"),
    ],
)
def test_an_engine_that_cannot_be_used_says_why(registry_of: RegistryOf, name: str, where: str, text: str) -> None:
    registry = registry_of(toy="TOY", **{name: where})
    with pytest.raises(PluginError, match=text):
        registry.find(name)
    broken, toy = sorted(registry.installed(), key=lambda one: one.codec is not None)
    assert (broken.codec, toy.name) == (None, "toy")
    assert re.search(text, broken.trouble)
    assert registry.find("toy").name == "toy"


def test_a_scheme_of_nobody_tells_about_the_engines_that_are_broken(registry_of: RegistryOf) -> None:
    with pytest.raises(PluginError, match='URL scheme "x".*cannot be loaded'):
        registry_of(absent="NO_SUCH_NAME").for_scheme("x")


def test_an_import_that_fails_in_any_way_is_a_plugin_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "explodes_at_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry(lambda: [EntryPoint("bang", "explodes_at_import:CODEC", GROUP)])
    with pytest.raises(
        PluginError, match=r'the engine "bang" .* cannot be loaded: ZeroDivisionError: division by zero'
    ):
        registry.find("bang")


def test_two_engines_of_one_name_are_refused_and_the_same_one_twice_is_not() -> None:
    one = EntryPoint("toy", "toy_engines:TOY", GROUP)
    other = EntryPoint("toy", "toy_engines:POSTGRES", GROUP)
    assert Registry(lambda: [one, one]).find("toy").name == "toy"
    good = EntryPoint("mysql", "toy_engines:MYSQL", GROUP)
    registry = Registry(lambda: [one, other, good])
    with pytest.raises(PluginError, match='two engines are called "toy": toy_engines:POSTGRES and toy_engines:TOY$'):
        registry.find("toy")
    assert registry.find("mysql") is registry.for_scheme("mysql")
    assert [(each.name, each.codec is None) for each in registry.installed()] == [("mysql", False), ("toy", True)]


def test_a_name_of_ours_stays_ours() -> None:
    ours = EntryPoint("postgres", "rdsp_codecs.postgres:CODEC", GROUP)
    other = EntryPoint("postgres", "toy_engines:POSTGRES", GROUP)
    registry = Registry(lambda: [other, ours])
    assert registry.find("postgres") is registry.for_scheme("postgresql") is CODEC
    built_in, claim = registry.installed()
    assert (built_in.built_in, built_in.codec, built_in.trouble) == (True, CODEC, "")
    assert (claim.built_in, claim.codec) == (False, None)
    assert claim.trouble.endswith("toy_engines:POSTGRES is not used, for the other one is built in")


def test_schemes_and_a_family_of_ours_stay_ours() -> None:
    ours = EntryPoint("postgres", "rdsp_codecs.postgres:CODEC", GROUP)
    registry = Registry(lambda: [EntryPoint("p", "toy_engines:GREEDY", GROUP), ours])
    assert registry.for_scheme("postgresql") is registry.for_scheme("postgres") is CODEC
    assert registry.for_family("POSTGRESQL") is CODEC
    assert registry.find("p").default_port == 1
