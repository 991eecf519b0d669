"""Whether an engine has all that the runtime will ask for, before anything is said to it."""

from __future__ import annotations

import inspect
import re

from rdsp_codecs.api import API_VERSION, Codec, Features, RelayPolicy
from rdsp_codecs.relaying import Relay
from rdsp_codecs.testing.logins import log_in
from rdsp_codecs.testing.wire import Wire

_MAY_LACK = frozenset(
    (
        "alias",
        "answer_alone",
        "answers_us",
        "ear_key",
        "endless",
        "go_on",
        "greet_anew",
        "interrupt",
        "kept",
        "killed",
        "lost_ear",
        "mark",
        "needs_ear",
        "nudged",
        "reclaimed",
        "resettable",
        "unheard",
        "variant",
        "victim",
    )
)


def members(codec: Codec, wire: Wire) -> None:
    """The codec has every member, with arguments that fit; its relay writes all that it may not inherit."""
    for name, member in inspect.getmembers(Codec, inspect.isfunction):
        if name.startswith("_"):
            continue
        found = getattr(codec, name, None)
        assert callable(found), f"the codec lacks {name}()"
        wanted = [each for each in inspect.signature(member).parameters.values() if each.name != "self"]
        arguments = [None for each in wanted if each.kind is not each.KEYWORD_ONLY]
        keywords = {each.name: None for each in wanted if each.kind is each.KEYWORD_ONLY}
        try:
            inspect.signature(found).bind(*arguments, **keywords)
        except TypeError as error:
            msg = f"{name}() does not take what it is given: {error}"
            raise AssertionError(msg) from error
        except ValueError:
            continue  # compiled: it has no signature to look at
    assert codec.api == API_VERSION, f"the codec is for API {codec.api}, this is API {API_VERSION}"
    assert isinstance(codec.features, Features), "features is no Features"
    assert re.fullmatch("[a-z][a-z0-9_]*", codec.name), f"{codec.name!r} is no name for an engine: a-z, 0-9 and _"
    assert codec.engine_family, "engine_family is empty"
    assert codec.engine_family == codec.engine_family.upper(), f"the family {codec.engine_family!r} is not in capitals"
    assert codec.schemes, "there is no URL scheme"
    assert all(re.fullmatch(r"[a-z][a-z0-9+.-]*", each) for each in codec.schemes), f"URL schemes: {codec.schemes}"
    assert 0 < codec.default_port < 65536, f"the default port {codec.default_port}"
    who = log_in(codec, wire)[0]
    hash(codec.pool_key(who))
    relay = codec.relay(who, RelayPolicy(), codec.shared())
    assert isinstance(relay, Relay), "the relay does not derive from rdsp_codecs.relaying.Relay"
    written = {name for each in type(relay).__mro__[: type(relay).__mro__.index(Relay)] for name in vars(each)}
    offered = {name for name, member in vars(Relay).items() if not name.startswith("_") and _does(member)}
    lacking = offered - written - _MAY_LACK
    assert not lacking, f"the relay lacks {', '.join(sorted(lacking))}"
    assert relay.to_server == relay.to_client == [], "a new relay's outboxes are not empty"
    assert not relay.in_request(), "a new relay is in a request"
    assert not relay.owes(), "a new relay owes something"


def _does(member: object) -> bool:
    """Whether it is a method or a property, and not the place of an attribute."""
    return callable(member) or isinstance(member, property)
