"""The tree of errors."""

from __future__ import annotations

import pytest

from rdsp.errors import (
    Blame,
    BorrowTimeout,
    ClientError,
    ClientGone,
    ClientProtocolError,
    ConfigError,
    Fault,
    InternalError,
    RdspError,
    ServerGone,
    ServerLoginFailed,
    ServerProtocolError,
    UnsupportedByProxy,
    all_errors,
    from_codec,
)
from rdsp_codecs.errors import CodecError, LoginRefused, PeerClosed, PluginError, UnsupportedFeatureError, WireError
from rdsp_codecs.problems import ProblemCode

EVERY = list(all_errors())


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
def test_every_class_says_its_code_its_blame_and_its_public_text(error: type[RdspError]) -> None:
    assert "code" in vars(error)
    assert "public_text" in vars(error)
    assert isinstance(error.blame, Blame)
    assert error.public_text.endswith(".")
    assert error.__doc__


def test_no_two_classes_share_a_code() -> None:
    codes = [error.code for error in EVERY]
    assert len(set(codes)) == len(codes)


def test_every_problem_that_a_client_can_be_told_belongs_to_one_error_of_the_same_code() -> None:
    told = {error.told_as: error for error in EVERY if error.told_as is not None}
    assert set(told) == set(ProblemCode)
    assert all(problem.value == error.code for problem, error in told.items())
    assert sum(error.told_as is not None for error in EVERY) == len(told)


def test_a_problem_has_the_subject_and_never_the_detail() -> None:
    problem = BorrowTimeout("waited 120.0 s in pool 7", subject="120").problem()
    assert (problem.code, problem.subject, problem.fatal) == (ProblemCode.BORROW_TIMEOUT, "120", False)
    assert BorrowTimeout().problem(fatal=True).fatal
    assert str(BorrowTimeout()) == BorrowTimeout.public_text


def test_an_error_that_nobody_can_be_told_is_an_internal_one_to_whoever_asks() -> None:
    assert not ClientGone().tellable
    assert ClientGone().problem().code is ProblemCode.INTERNAL


def test_a_configuration_error_has_one_line_per_fault() -> None:
    error = ConfigError([Fault("a.b", "is odd"), "as a whole, too"], source="x.toml")
    assert str(error) == "a.b: is odd\nas a whole, too"
    assert error.blame is Blame.OPERATOR


@pytest.mark.parametrize(
    ("raised", "peer", "expected"),
    [
        (WireError("w"), Blame.CLIENT, ClientProtocolError),
        (WireError("w"), Blame.SERVER, ServerProtocolError),
        (PeerClosed("p"), Blame.CLIENT, ClientGone),
        (PeerClosed("p"), Blame.SERVER, ServerGone),
        (UnsupportedFeatureError("GSSAPI"), Blame.CLIENT, UnsupportedByProxy),
        (UnsupportedFeatureError("GSSAPI"), Blame.SERVER, ServerProtocolError),
        (LoginRefused("28P01", "no"), Blame.SERVER, ServerLoginFailed),
        (PluginError("p"), Blame.SERVER, ConfigError),
        (CodecError("c"), Blame.CLIENT, InternalError),
    ],
)
def test_a_codecs_error_is_mapped_by_who_sent_the_bytes(
    raised: CodecError, peer: Blame, expected: type[RdspError]
) -> None:
    assert type(from_codec(raised, peer)) is expected


def test_what_a_server_said_about_a_login_is_kept() -> None:
    error = from_codec(LoginRefused("53300", "too many", transient=True, raw=b"E..."), Blame.SERVER)
    assert isinstance(error, ServerLoginFailed)
    assert (error.server_code, error.subject, error.transient, error.raw) == ("53300", "too many", True, b"E...")


def test_whose_fault_it_was_is_in_the_class() -> None:
    assert issubclass(ClientProtocolError, ClientError)
    assert ClientProtocolError.blame is Blame.CLIENT
    assert ServerProtocolError.blame is Blame.SERVER
    assert InternalError.blame is Blame.PROXY
