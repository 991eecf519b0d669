"""A blocking MySQL client made of the codec's own parts: the login conversation and the packets, over a socket."""

from __future__ import annotations

import os
import socket
import ssl
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from rdsp_codecs.api import BackendLogin
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.layering import Layer
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql.dialogue import Dialogue, Part
from rdsp_codecs.mysql.framing import PacketReader, packets
from rdsp_codecs.mysql.login import change_user, login
from rdsp_codecs.mysql.responses import COM_QUERY, Ok, is_eof
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.mysql.values import Reader
from rdsp_codecs.steps import Conversation, PutOn, Receive, Send, StartTls, TlsFacts
from rdsp_codecs.testing.duo import unwrapped
from tests.servers.mysql import DATABASE, PASSWORD, USER
from tests.waiting import PATIENCE


def tls_context(*, old: bool = False) -> ssl.SSLContext:
    """A client's context that takes any certificate; with `old`, TLS 1.0 and what went with it, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if old:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:!kDHE:@SECLEVEL=0")
        # Its handshake knows nothing of secure renegotiation (RFC 5746).
        context.options |= ssl.OP_LEGACY_SERVER_CONNECT if hasattr(ssl, "OP_LEGACY_SERVER_CONNECT") else 0x4
    return context


@attrs.frozen
class Heard:
    """A packet of an answer.

    Attributes:
        part: what it is.
        payload: all of it.
        status: the flags that are known behind it.
        ok: it, where it is an OK.
    """

    part: Part
    payload: bytes
    status: int | None
    ok: Ok | None


class MySqlClient:
    """A connection. `said` has each command's beginning, and b"" for each end of a file, with the bytes received before.

    `sent` and `received` are all bytes of it, after the encryption was taken off.

    Args:
        port: on the loopback interface.
        user, password, database: whom to log in as.
        tls: "disable", "prefer" or "require".
        parameters: of the login conversation.
        old: see `tls_context`.
        compression: "", "zlib" or "zstd".
    """

    def __init__(
        self,
        port: int,
        user: str = USER,
        password: str = PASSWORD,
        database: str = DATABASE,
        *,
        tls: str = "disable",
        parameters: Mapping[str, str] | None = None,
        old: bool = False,
        compression: str = "",
    ) -> None:
        self.layer: Layer | None = None
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._context = tls_context(old=old)
        self.sent, self.received = bytearray(), bytearray()
        self.tls_version = ""
        how = BackendLogin(
            user=user, password=password, database=database, parameters=parameters or {}, tls=tls, entropy=os.urandom,
            compression=compression,
        )  # fmt: skip
        try:
            self.state: MySqlState = self._converse(login(how))
        except BaseException:
            self.socket.close()
            raise
        self.flags = self.state.capabilities
        self.reader = PacketReader()
        assert not self.state.leftover, "the server speaks out of turn"
        self.dialogue = Dialogue(self.flags, self.state.welcome.status)
        self.said: list[tuple[bytes, int]] = []
        self.welcomed = len(self.received)

    def change_user(
        self,
        user: str = USER,
        password: str = PASSWORD,
        database: str = DATABASE,
        parameters: Mapping[str, str] | None = None,
    ) -> Ok:
        """COM_CHANGE_USER. Raises what the login conversation raises."""
        how = BackendLogin(
            user=user, password=password, database=database, parameters=parameters or {}, tls="", entropy=os.urandom
        )
        self._converse(change_user(self.state, how))
        self.dialogue = Dialogue(self.flags, self.state.welcome.status)
        return self.state.welcome

    def _converse(self, conversation: Conversation[Any]) -> Any:
        answer: Any = None
        try:
            step = next(conversation)
            while True:
                answer = None
                try:
                    if isinstance(step, Send):
                        self.write(step.data)
                    elif isinstance(step, Receive):
                        answer = self._read(step.limit or 65536) if self.layer is None else b""
                        while not answer:
                            answer = self.receive()
                    elif isinstance(step, PutOn):
                        self.layer = step.layer
                        assert not step.early
                    else:
                        assert isinstance(step, StartTls)
                        answer = self._shake()
                except (PeerClosed, WireError) as error:
                    step = conversation.throw(error)
                else:
                    step = conversation.send(answer)
        except StopIteration as stop:
            return stop.value

    def _shake(self) -> TlsFacts:
        try:
            wrapped = self._context.wrap_socket(self.socket)
        except ssl.SSLError as error:
            raise WireError(str(error)) from error
        self.socket = wrapped
        self.tls_version = wrapped.version() or ""
        return TlsFacts(self.tls_version)

    def _read(self, size: int) -> bytes:
        data = self.socket.recv(size)
        if not data:
            raise PeerClosed("the server closed the connection")
        self.received += data
        return data

    def receive(self) -> bytes:
        """What comes, decompressed; may be nothing."""
        data = self._read(65536)
        return data if self.layer is None else unwrapped(self.layer, data)

    def write(self, data: bytes) -> None:
        """Write bytes, compressed where the connection is."""
        if self.layer is not None:
            data = self.layer.wrap(data)
        self.sent += data
        self.socket.sendall(data)

    def payload(self) -> bytes:
        """The next payload of the server's. Raises `PeerClosed`, `WireError`, `TimeoutError`."""
        while (payload := self.reader.next()) is None:
            self.reader.feed(self.receive())
        return payload

    def send(self, payload: bytes, number: int = 0) -> None:
        """Write a payload as packets, the first with this number."""
        self.write(packets(payload, number))

    def command(self, code: int, body: bytes = b"") -> None:
        """Send a command; its answer begins with packet 1, or with the one behind the command's last."""
        self.send(bytes((code,)) + body)
        self.reader.begin(1 + (1 + len(body)) // 0xFFFFFF)

    def query(self, text: str) -> list[bytes]:
        """The payloads that answer a query of one result set, or none: read by the plainest rules there are."""
        self.command(COM_QUERY, (b"\0\1" if self.flags & c.CLIENT_QUERY_ATTRIBUTES else b"") + text.encode())
        found = [self.payload()]
        if found[0][0] in (0x00, 0xFF):
            return found
        ends = 1 if self.flags & c.CLIENT_DEPRECATE_EOF else 2
        columns = Reader(found[0], "column count").lenenc_integer()
        found += [self.payload() for _ in range(columns + ends - 1)]
        while True:
            found.append(self.payload())
            last = found[-1]
            if last[0] == 0xFF or (last[0] == 0xFE and (ends == 1 or is_eof(last))):
                return found

    def rows(self, text: str) -> list[tuple[bytes | None, ...]]:
        """The rows of a query with one result set. Raises `AssertionError` for an error."""
        found = self.query(text)
        assert found[0][0] != 0xFF, found[0]
        assert found[-1][0] != 0xFF, found[-1]
        columns = Reader(found[0], "column count").lenenc_integer()
        skip = 1 + columns + (0 if self.flags & c.CLIENT_DEPRECATE_EOF else 1)
        result = []
        for payload in found[skip:-1]:
            reader = Reader(payload, "row")
            result.append(tuple(reader.value() for _ in range(columns)))
            reader.close()
        return result

    def ask(self, code: int, body: bytes = b"", files: Sequence[bytes] = ()) -> list[Heard]:
        """Send a command, and what the server asks for meanwhile; the answer, as `Dialogue` tells where it ends.

        Raises `WireError`, also where the server's packets are not numbered from 1 on: where something of an earlier
        answer was left.
        """
        self.begin(code, body)
        return self.hear(files)

    def begin(self, code: int, body: bytes = b"") -> None:
        """Send a command, whose answer `hear` hears."""
        self.command(code, body)
        self.said.append((bytes((code,)) + body[:8], len(self.received)))
        self.dialogue.asked(code)

    def hear(self, files: Sequence[bytes] = ()) -> list[Heard]:
        """The answer to the last command. See `ask`."""
        waiting = list(files)
        heard: list[Heard] = []
        while not self.dialogue.over:
            if self.dialogue.clients_turn:
                self._send_file(waiting.pop(0))
                continue
            payload = self.payload()
            first = payload[0] if payload else -1
            shown = payload if self.dialogue.wants(first, len(payload)) else payload[:1]
            part = self.dialogue.told(shown, len(payload))
            heard.append(Heard(part, payload, self.dialogue.status, self.dialogue.ok))
            if part is Part.PROOF and payload[0] == 0xFE:  # prove that there is no password, in another way
                number = self.reader.last + 1
                self.send(b"", number)
                self.reader.begin(number + 1)
        assert self.reader.between, "the server says more than its answer"
        return heard

    def _send_file(self, data: bytes) -> None:
        """A file in packets of at most 1000 bytes, and the empty one behind it."""
        number = self.reader.last + 1
        for at in range(0, len(data), 1000):
            self.send(data[at : at + 1000], number)
            self.dialogue.given(len(data[at : at + 1000]))
            number += 1
        self.send(b"", number)
        self.said.append((b"", len(self.received)))
        self.dialogue.given(0)
        self.reader.begin(number + 1 & 0xFF)

    def close(self) -> None:
        """Close without a word."""
        self.socket.close()

    def __enter__(self) -> MySqlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
