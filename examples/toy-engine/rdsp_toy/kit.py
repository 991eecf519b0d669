"""What `rdsp_codecs.testing` needs to know of the protocol."""

from __future__ import annotations

from hypothesis import strategies as st

from rdsp_codecs.testing import Wire
from rdsp_toy.lines import LONGEST, cut, line
from rdsp_toy.model import Session


# [wire]
class ToyWire(Wire):
    """See `Wire`."""

    parameters = {"lang": "en"}
    begin = b"BEGIN\n"
    commit = b"COMMIT\n"
    changes = (b"SET lang de\n", b"SET lang fr\n")
    requests = st.one_of(
        st.sampled_from([b"COUNT 0\n", b"COUNT 3\n", b"SHOW lang\n", b"PING\n", b"ROLLBACK\n", b"no such\n", b"\n"]),
        st.builds(lambda key, value: line("PUT", key, value), st.sampled_from("kl"), st.sampled_from("12")),
        st.binary(max_size=20).map(lambda data: b"GET none-" + data.replace(b"\n", b"") + b"\n"),
    )

    def server(self) -> Session:
        return Session({})

    def long_request(self, size: int) -> bytes:
        return b"GET " + b"x" * size + b"\n"

    def errors(self, data: bytes) -> int:
        lines, half = cut(data, LONGEST)
        assert not half
        assert all(each.startswith((b"ERROR ", b"OK ", b"ROW ")) for each in lines)
        return sum(each.startswith(b"ERROR ") for each in lines)


WIRE = ToyWire()
# [wire]
