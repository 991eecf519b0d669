"""The checks of the kit: each by its name, and the one call for all of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final

import attrs

from rdsp_codecs.api import Codec
from rdsp_codecs.testing.check_anew import NotShown, anew
from rdsp_codecs.testing.check_limits import memory
from rdsp_codecs.testing.check_logins import login, proofs, strangers
from rdsp_codecs.testing.check_members import members
from rdsp_codecs.testing.check_relays import answers, boundaries, garbage, losses, sessions, splits, transactions
from rdsp_codecs.testing.check_words import endings, refusals, upkeep
from rdsp_codecs.testing.wire import Wire

_ALL: Final = (
    members,
    login,
    proofs,
    strangers,
    anew,
    splits,
    answers,
    boundaries,
    transactions,
    sessions,
    losses,
    garbage,
    refusals,
    endings,
    upkeep,
    memory,
)
CHECKS: Final[dict[str, Callable[[Codec, Wire], None]]] = {check.__name__: check for check in _ALL}
"""Every check by its name. What each looks for is its docstring."""


@attrs.frozen
class Check:
    """One check of one codec: call it. Raises `AssertionError`, or whatever the codec raises that it must not.

    What is about something that an engine need not have, and this one has not, raises `NotShown`: pytest and unittest
    say that it was skipped.
    """

    name: str
    codec: Codec
    wire: Wire

    def __call__(self) -> None:
        """Run it."""
        CHECKS[self.name](self.codec, self.wire)

    def __str__(self) -> str:
        return self.name


def codec_checks(codec: Codec, wire: Wire | None = None) -> list[Check]:
    """All checks, as parameters of a test.

    >>> @pytest.mark.parametrize("check", codec_checks(CODEC, WIRE), ids=str)  # doctest: +SKIP
    ... def test_the_codec(check):
    ...     check()

    Arguments:
        wire: what is to be said to it; None: an engine of ours, whose wire is `rdsp_codecs.testing.<name>.WIRE`.

    How many examples are tried is Hypothesis' own setting, the profile's `max_examples`.
    """
    found: Wire = wire if wire is not None else importlib.import_module(f"rdsp_codecs.testing.{codec.name}").WIRE
    return [Check(name, codec, found) for name in CHECKS]


def check_codec(codec: Codec, wire: Wire | None = None) -> list[str]:
    """Put a codec through all checks, one after the other. See `codec_checks`.

    Returns the names of those that have shown nothing, because the engine lacks what they are about. Raises
    `AssertionError` at the first that fails, with the check's name in a note.
    """
    skipped = []
    for check in codec_checks(codec, wire):
        try:
            check()
        except NotShown:
            skipped.append(check.name)
        except BaseException as error:
            error.add_note(f"in the check {check.name!r} of the engine {codec.name!r}")
            raise
    return skipped
