"""Reads what was recorded between a client and a server, and writes every packet that is ours to read again."""

from __future__ import annotations

from collections import Counter

from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.dialogue import Dialogue, Part
from rdsp_codecs.mysql.framing import PacketReader, packets
from rdsp_codecs.mysql.proofs import CACHING_WANTS_KEY


def rewritten(part: Part, payload: bytes, flags: int) -> bytes | None:
    """The payload of an answer's packet read and written again; None for those that we do not read."""
    if part is Part.OK:
        found = r.read_ok(payload, flags)
        t.changes(found.trackers or ())
        return r.ok(found)
    if part is Part.ERR:
        return r.err(r.read_err(payload))
    if part is Part.EOF:
        return r.eof(r.read_eof(payload))
    if part is Part.COUNT:
        return r.column_count(r.read_column_count(payload, flags))
    if part is Part.PREPARED:
        return r.prepared(r.read_prepared(payload, flags))
    if part is Part.FILE:
        return r.local_infile(r.read_local_infile(payload))
    if part is Part.PROGRESS:
        return r.progress(r.read_progress(payload))
    return None


class Reading:
    """One recorded connection in clear, without compression. `seen` counts what it consisted of.

    Everything is asserted: that each packet is read, is written as it was, and that answers end where the client's next
    command begins.
    """

    def __init__(self, client: bytes, server: bytes) -> None:
        self._client, self._server = PacketReader(), PacketReader()
        self._client.feed(client)
        self._server.feed(server)
        self.seen: Counter[str] = Counter()
        self.response: m.Response
        self.greeting: m.Greeting
        self._log_in()
        while self._command():
            pass
        assert self._client.between, "the client has said more"
        assert self._server.between, "the server has said more"

    def _next(self, reader: PacketReader, number: int) -> bytes:
        reader.begin(number)
        payload = reader.next()
        assert payload is not None, "a packet is missing"
        return payload

    def _log_in(self) -> None:
        payload = self._next(self._server, 0)
        self.greeting = m.read_greeting(payload)
        assert m.greeting(self.greeting) == payload
        payload = self._next(self._client, 1)
        self.response = m.read_response(payload, self.greeting.capabilities)
        # What the client claims and the server has not is not in its packet, and neither is it in ours.
        assert m.response(self.response)[32:] == payload[32:]
        assert m.ssl_request(self.response.head) == payload[:32]
        self.flags = self.response.head.capabilities & self.greeting.capabilities
        number = 2
        while True:
            payload = self._next(self._server, number)
            number += 1
            if payload[0] == r.OK:
                assert rewritten(Part.OK, payload, self.flags) == payload
                self.seen["login"] += 1
                return
            assert payload[0] != r.ERR, payload
            if m.is_auth_switch(payload):
                assert m.auth_switch(m.read_auth_switch(payload)) == payload
                self.seen["switch"] += 1
            else:
                assert m.is_more_data(payload)
                assert m.more_data(payload[1:]) == payload
                if payload == b"\x01\x03":
                    continue
            said = self._next(self._client, number)
            self.seen["key"] += said == CACHING_WANTS_KEY
            number += 1

    def _command(self) -> bool:
        if self._client.between:
            return False
        payload = self._next(self._client, 0)
        code = payload[0]
        self.seen[f"command {code:#x}"] += 1
        dialogue = Dialogue(self.flags)
        dialogue.asked(code)
        number = 1
        while not dialogue.over:
            if dialogue.clients_turn:
                data = self._next(self._client, number)
                dialogue.given(len(data))
            else:
                answer = self._next(self._server, number)
                first = answer[0] if answer else -1
                shown = answer if dialogue.wants(first, len(answer)) else answer[:1]
                part = dialogue.told(shown, len(answer))
                self.seen[part.name] += 1
                again = rewritten(part, answer, self.flags)
                assert again is None or again == answer, (part, answer, again)
                assert packets(answer, number)
            number += 1
        return code != r.COM_QUIT
