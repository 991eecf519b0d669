"""The kit finds every fault by the check that is named for it. (That it passes who has none: the other two modules.)"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from rdsp_toy.kit import WIRE
from rdsp_toy.relay import ToyRelay

from rdsp_codecs.testing import CHECKS, NotShown, check_codec, codec_checks
from rdsp_codecs.testing.check_anew import anew
from tests.kit.changing_toy import FAULTS, ChangingRelay, ChangingWire, codec_of
from tests.kit.mutants import MUTANTS

settings.register_profile(
    "mutants",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def same_examples() -> Iterator[None]:
    """The same each time, and no time spent on making them small."""
    before = settings.get_current_profile_name()
    settings.load_profile("mutants")
    try:
        yield
    finally:
        settings.load_profile(before)


@pytest.mark.usefixtures("same_examples")
@pytest.mark.parametrize("fault", MUTANTS)
def test_a_fault_is_found_by_the_check_that_is_named_for_it(fault: str) -> None:
    name, codec = MUTANTS[fault]
    (check,) = [each for each in codec_checks(codec(), WIRE) if each.name == name]
    with pytest.raises(Exception) as found:
        check()
    # A fault that raises in the engine is shown as it is; all others are told in words.
    if isinstance(found.value, AssertionError):
        assert str(found.value).strip()
    else:
        assert name in ("garbage", "strangers", "upkeep")


def test_every_check_finds_something() -> None:
    assert {name for name, _ in MUTANTS.values()} | {"anew"} == set(CHECKS)


def test_what_an_engine_has_not_is_told_as_not_shown() -> None:
    """By name, and the one call says which it was: nothing is green that has shown nothing."""
    with pytest.raises(NotShown, match="'toy' has no other user in mid-session"):
        anew(codec_of(ToyRelay), WIRE)
    with pytest.raises(AssertionError, match="does not say how a client asks for it"):
        anew(codec_of(ChangingRelay), WIRE)
    with pytest.raises(AssertionError, match=r"the relay has no greet_anew"):
        anew(codec_of(ToyRelay), ChangingWire())


@pytest.mark.usefixtures("same_examples")
def test_another_user_in_mid_session_passes_and_each_fault_of_it_is_found() -> None:
    anew(codec_of(ChangingRelay), ChangingWire())
    for fault in FAULTS:
        with pytest.raises(AssertionError) as found:
            anew(codec_of(fault), ChangingWire())
        assert str(found.value).strip(), fault


@pytest.mark.usefixtures("same_examples")
def test_the_one_call_names_the_check_that_failed() -> None:
    _, codec = MUTANTS["gives its server back in a transaction"]
    with pytest.raises(AssertionError) as found:
        check_codec(codec(), WIRE)
    assert any("of the engine 'toy'" in note for note in found.value.__notes__)


def test_every_check_says_what_it_looks_for() -> None:
    for check in CHECKS.values():
        assert inspect.getdoc(check)
