"""A relay for one kind of test: our greeting to a real client, our login to a real server, and their packets between.

One backend for each client; nothing is shared. Each packet of the server's is followed by `Dialogue`; trackers are taken
out for a client that has not asked for them, and no other byte is changed.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from rdsp_codecs.api import BackendLogin, ClientLogin, Offer
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.layering import Layer
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Dialogue, Part
from rdsp_codecs.mysql.framing import PacketReader, packets
from rdsp_codecs.mysql.greet import Face, greet
from rdsp_codecs.mysql.login import login
from rdsp_codecs.questions import Admit, PrivateKey, Secrets, Welcome
from rdsp_codecs.steps import Conversation, PutOn, Receive, Send, StartTls, TlsFacts
from rdsp_codecs.testing.duo import unwrapped
from tests.servers.mysql import PASSWORD, USER, MySqlServer, certificate
from tests.servers.mysqlclient import MySqlClient
from tests.waiting import PATIENCE

CLIENTS_USER, CLIENTS_PASSWORD = "somebody", "clients' own"
KEY = rsa.generate_private_key(65537, 2048)


def drive(
    conversation: Conversation[Any], sock: socket.socket, context: ssl.SSLContext | None, layer: Layer | None = None
) -> tuple[Any, socket.socket]:
    """Run a conversation over a blocking socket. Returns its result and the socket, which TLS may have made another."""
    answer: Any = None
    try:
        step = next(conversation)
        while True:
            answer, thrown = None, None
            try:
                if isinstance(step, Send):
                    sock.sendall(step.data if layer is None else layer.wrap(step.data))
                elif isinstance(step, Receive):
                    answer = sock.recv(step.limit or 65536)
                    if not answer:
                        thrown = PeerClosed("closed")
                    elif layer is not None:
                        answer = unwrapped(layer, answer)
                elif isinstance(step, StartTls):
                    assert context is not None
                    sock = context.wrap_socket(sock, server_side=True)
                    answer = TlsFacts(sock.version() or "")
                elif isinstance(step, PutOn):
                    layer = step.layer
                elif isinstance(step.question, Secrets):
                    answer = (CLIENTS_PASSWORD,) if step.question.user == CLIENTS_USER else ()
                elif isinstance(step.question, PrivateKey):
                    answer = KEY
                else:
                    assert isinstance(step.question, Admit)
                    answer = Welcome({}, 7, b"")
            except ssl.SSLError as error:
                thrown = WireError(str(error))
            step = conversation.throw(thrown) if thrown else conversation.send(answer)
    except StopIteration as stop:
        return stop.value, sock


class MiniRelay:
    """Listens on `port`. `greeted` has what came of each greeting, `troubles` what went wrong behind one."""

    def __init__(
        self,
        server: MySqlServer,
        folder: Path,
        methods: tuple[str, ...] = (),
        *,
        host: str = "127.0.0.1",
        proved: bool = True,
    ) -> None:
        self._server = server
        self._methods = methods
        pem = folder / "relay.pem"
        made = certificate()
        pem.write_bytes(b"".join(made))
        fingerprint = x509.load_pem_x509_certificate(made[0]).fingerprint(hashes.SHA256()) if proved else b""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._over = False
        self.greeted: list[Any] = []
        self.troubles: list[BaseException] = []
        self.parts: list[Part] = []
        self._thread = threading.Thread(target=self._serve)
        with MySqlClient(server.port) as first:
            version = first.state.server_parameters["server_version"].encode()
            self._face = Face(version, first.state.offered, 45, 4242, fingerprint=fingerprint)

    def __enter__(self) -> MiniRelay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        with socket.create_connection(self._listener.getsockname()):
            self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._over:
                client.close()
                return
            client.settimeout(PATIENCE)
            try:
                self._one(client)
            except BaseException as error:
                self.troubles.append(error)
                client.close()

    def _one(self, client: socket.socket) -> None:
        offer = Offer(
            tls=True, require_tls=False, local=True, open_to_local=False, entropy=os.urandom, mock_salt_key=b"k" * 32,
            auth_methods=self._methods, default_database="app",
        )  # fmt: skip
        result, client = drive(greet(offer, self._face), client, self._context)
        self.greeted.append(result)
        if not isinstance(result, ClientLogin):
            client.close()
            return
        with client, socket.create_connection(("127.0.0.1", self._server.port), timeout=PATIENCE) as server:
            how = BackendLogin(
                user=USER, password=PASSWORD, database=result.database, parameters=result.parameters, tls="disable",
                entropy=os.urandom,
            )  # fmt: skip
            state, _ = drive(login(how), server, None)
            assert c.key(state.capabilities) == c.key(result.protocol)
            _Pump(client, server, result, state.capabilities, self.parts).run(result.leftover)


class _Pump:
    """Commands one after the other: the client says nothing while an answer is owed."""

    def __init__(
        self, client: socket.socket, server: socket.socket, who: ClientLogin, flags: int, parts: list[Part]
    ) -> None:
        self._client, self._server = client, server
        self._tracked = bool(who.protocol & c.CLIENT_SESSION_TRACK)
        self._dialogue = Dialogue(flags)
        self._from_client, self._from_server = PacketReader(), PacketReader()
        self._parts = parts

    def run(self, leftover: bytes) -> None:
        self._from_client.feed(leftover)
        while True:
            if self._dialogue.over:
                self._from_client.begin(0)
            payload = self._payload(self._from_client, self._client)
            if payload is None:
                return
            if self._dialogue.clients_turn:
                self._dialogue.given(len(payload))
            else:
                self._dialogue.asked(payload[0])
            # The number of its last packet is known, and so is that of its first.
            first = (self._from_client.last - len(payload) // 0xFFFFFF) & 0xFF
            self._server.sendall(packets(payload, first))
            self._from_server.begin(self._from_client.expected)
            while not self._dialogue.over and not self._dialogue.clients_turn:
                answer = self._payload(self._from_server, self._server)
                assert answer is not None
                self._hear(answer)
            self._from_client.begin(self._from_server.expected)
            assert self._from_server.between
            if payload[:1] == bytes((r.COM_QUIT,)):
                return

    def _hear(self, answer: bytes) -> None:
        first = (self._from_server.last - len(answer) // 0xFFFFFF) & 0xFF
        part = self._dialogue.told(answer, len(answer))
        self._parts.append(part)
        said = self._dialogue.ok
        if said is not None and said.trackers is not None and not self._tracked:
            answer = r.ok(r.without_trackers(said))
        self._client.sendall(packets(answer, first))

    def _payload(self, reader: PacketReader, sock: socket.socket) -> bytes | None:
        while (payload := reader.next()) is None:
            try:
                data = sock.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                assert reader.between, "half a packet"
                return None
            reader.feed(data)
        return payload
