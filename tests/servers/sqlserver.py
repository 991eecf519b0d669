"""The reference server for SQL Server's protocol: sockets and TLS around `rdsp_codecs.testing.sqlserver`.

`python -m tests.servers.sqlserver --help` runs one, which says on which port; `running` is for tests.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import ssl
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import attrs
import trio

from rdsp_codecs.errors import CodecError
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver.login7 import read_login7
from rdsp_codecs.testing.sqlserver.answers import Blocked, Sleep
from rdsp_codecs.testing.sqlserver.logins import Encryption, answer_login, answer_prelogin
from rdsp_codecs.testing.sqlserver.running import Fatal
from rdsp_codecs.testing.sqlserver.session import Session
from rdsp_codecs.testing.sqlserver.state import Server
from tests.servers.mysql import certificate

STRICT: Final = "tds/8.0"
_READ: Final = 65536
_TLS_RECORD: Final = 0x16
_MOST: Final = 1 << 28
_LOGIN_SECONDS: Final = 30


class Wire:
    """A client's connection, with TLS or without, which stands on packets of type PRELOGIN while it is shaken hands on."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def peek(self) -> bytes:
        """The first byte; it stays. b"" at the end."""
        return await self._stream.socket.recv(1, 2)  # MSG_PEEK

    async def receive(self) -> bytes:
        """What has come. b"" at the end."""
        if self._tls is None:
            return await self._stream.receive_some(_READ)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                return self._tls.read(_READ)
            data = await self._stream.receive_some(_READ)
            if not data:
                return b""
            self._incoming.write(data)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        await self._stream.send_all(data)

    async def start_tls(self, context: ssl.SSLContext, reader: f.MessageReader | None) -> None:
        """Shake hands, in packets of type PRELOGIN where there is a `reader` of them. Raises `ssl.SSLError`."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            if said := self._outgoing.read():
                await self._stream.send_all(said if reader is None else f.packets(f.PRELOGIN, said, f.BEFORE_LOGIN))
            if done:
                break
            self._incoming.write(await self._handshake(reader))
        if reader is not None and reader.leftover:
            self._incoming.write(reader.leftover)
        self._tls = tls

    async def _handshake(self, reader: f.MessageReader | None) -> bytes:
        while reader is not None:
            if (message := reader.next()) is not None:
                if message.kind != f.PRELOGIN:
                    raise ConnectionError
                return message.data
            data = await self._stream.receive_some(_READ)
            if not data:
                raise ConnectionError
            reader.feed(data)
        data = await self._stream.receive_some(_READ)
        if not data:
            raise ConnectionError
        return data

    @property
    def alpn(self) -> str | None:
        """What both sides have agreed on."""
        return None if self._tls is None else self._tls.selected_alpn_protocol()

    def end_tls(self) -> None:
        """What follows is not encrypted: only the login was."""
        self._tls = None


@attrs.define(eq=False)
class Listening:
    """A server that listens.

    Attributes:
        server: what its sessions share.
        port: where it listens.
        context: for TLS inside of PRELOGIN, version 1.2; None without.
        strict: for TLS below all of it.
        wants: what is to be encrypted.
        fault: called with why a connection was ended.
    """

    server: Server
    port: int
    context: ssl.SSLContext | None
    strict: ssl.SSLContext | None
    wants: Encryption
    fault: Callable[[str], object] = lambda _: None
    waiting: set[trio.Event] = attrs.field(factory=set)
    seen: int = 0
    broken: bool = False

    def wake(self) -> None:
        """Somebody's transaction may have ended: whoever waits for a lock tries again."""
        if self.seen != self.server.ended:
            self.seen = self.server.ended
            for event in self.waiting:
                event.set()

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, to its end."""
        try:
            async with stream:
                stream.setsockopt(6, 1, 1)  # TCP_NODELAY
                await _Connection(self, Wire(stream), f"{stream.socket.getpeername()[1]}").run()
        except* CodecError as errors:
            for error in errors.exceptions:
                self.fault(str(error))
        except* (OSError, trio.BrokenResourceError, EOFError):
            pass  # it has left, or TLS has failed
        except* Exception as errors:
            # A fault of the server's own ends its connection, is told, and makes the run a failure.
            self.broken = True
            traceback.print_exception(errors)


class _Connection:
    def __init__(self, listening: Listening, wire: Wire, name: str) -> None:
        self._listening = listening
        self._wire = wire
        self._name = name
        self._reader = f.MessageReader(_MOST, numbered=True)
        self._size = f.BEFORE_LOGIN
        self._spid = 0
        self._attention = False
        self._event = trio.Event()

    async def _message(self) -> f.Message:
        while (message := self._reader.next()) is None:
            data = await self._wire.receive()
            if not data:
                raise EOFError
            self._reader.feed(data)
        return message

    async def _say(self, data: bytes) -> None:
        await self._wire.send(f.packets(f.RESPONSE, data, self._size, spid=self._spid))

    async def run(self) -> None:
        with trio.move_on_after(_LOGIN_SECONDS) as scope:
            session = await self._log_in()
        if scope.cancelled_caught or session is None:
            return
        try:
            await self._serve(session)
        finally:
            session.close()
            self._listening.wake()

    async def _log_in(self) -> Session | None:
        listening, wire = self._listening, self._wire
        strict = (await wire.peek())[:1] == bytes((_TLS_RECORD,))
        if strict:
            if listening.strict is None:
                return None
            await wire.start_tls(listening.strict, None)
            if wire.alpn != STRICT:
                msg = "TLS below TDS without its ALPN"
                raise CodecError(msg)
        first = await self._message()
        if first.kind != f.PRELOGIN:
            msg = f"the first message is of type {first.kind}"
            raise CodecError(msg)
        answer, encryption = answer_prelogin(
            first.data, listening.wants, fedauth=bool(listening.server.tokens), strict=strict
        )
        await self._say(answer)
        if encryption in (Encryption.LOGIN, Encryption.ALL):
            if listening.context is None:
                raise AssertionError(encryption)
            await wire.start_tls(listening.context, self._reader)
            self._reader = f.MessageReader(_MOST, numbered=True)
        message = await self._message()
        if encryption is Encryption.LOGIN:
            wire.end_tls()
        if message.kind != f.LOGIN7:
            msg = f"a message of type {message.kind} where a LOGIN7 is due"
            raise CodecError(msg)
        login = answer_login(listening.server, read_login7(message.data), strict=strict)
        if login.state is not None:
            self._spid = login.state.spid
        await self._say(login.tokens)
        self._size = login.packet_size
        return Session(login.state) if login.state is not None else None

    async def _serve(self, session: Session) -> None:
        send, receive = trio.open_memory_channel[f.Message](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, send, nursery.cancel_scope)
            async with receive:
                async for message in receive:
                    try:
                        await self._answer(session, message)
                    finally:
                        self._listening.wake()
            nursery.cancel_scope.cancel()

    async def _read(self, send: trio.MemorySendChannel[f.Message], scope: trio.CancelScope) -> None:
        try:
            while True:
                message = await self._message()
                if message.kind == f.ATTENTION:
                    self._attention = True
                    self._event.set()
                await send.send(message)
        except (OSError, EOFError, trio.BrokenResourceError):
            scope.cancel()

    async def _answer(self, session: Session, message: f.Message) -> None:
        if message.status & f.IGNORE:
            await self._say(session.ignored())
            return
        if message.kind == f.ATTENTION:
            self._attention = False
            await self._say(session.attention())
            return
        writer = f.MessageWriter(f.RESPONSE, self._size, spid=self._spid)
        items = session.respond(message)
        try:
            for item in items:
                if isinstance(item, bytes):
                    if said := writer.write(item):
                        await self._wire.send(said)
                        await trio.lowlevel.checkpoint()
                else:
                    self._listening.wake()
                    await self._pause(item)
                if self._attention:
                    items.close()
                    await self._wire.send(writer.write(session.interrupted()) + writer.end())
                    return  # the ATTENTION is the next message
        except Fatal:
            await self._wire.send(writer.end())
            raise EOFError from None
        await self._wire.send(writer.end())

    async def _pause(self, item: Sleep | Blocked) -> None:
        """Wait, but not beyond an attention."""
        self._event = event = trio.Event()
        if self._attention:
            return
        seconds = item.seconds
        if isinstance(item, Blocked):
            self._listening.waiting.add(event)
        try:
            with trio.move_on_after(math.inf if seconds is None else seconds) as scope:
                await event.wait()
        finally:
            self._listening.waiting.discard(event)
        if isinstance(item, Blocked) and scope.cancelled_caught:
            item.expired = True


def contexts(certificate_file: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For TLS inside of PRELOGIN, where 1.3 has no place, and for TLS below TDS 8.0. The file has the key, too."""
    inside, below = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.maximum_version = ssl.TLSVersion.TLSv1_2
    below.set_alpn_protocols([STRICT])
    for context in (inside, below):
        context.load_cert_chain(certificate_file)
    return inside, below


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    *,
    users: dict[str, str],
    databases: list[str],
    wants: Encryption = Encryption.LOGIN,
    port: int = 0,
    pem: tuple[bytes, bytes] | None = None,
    fault: Callable[[str], object] = lambda _: None,
) -> AsyncIterator[Listening]:
    """A server, for as long as the block lasts.

    Args:
        folder: of its data; it must be there.
        users: passwords by name.
        databases: names of those that it has besides its own.
        wants: what is to be encrypted.
        port: where it listens on the loopback interface; 0: on a free one.
        pem: certificate and key; without, new ones are made.
        fault: called with why a connection was ended, where its client has broken the protocol.
    """
    certificate_file = folder / "certificate.pem"
    certificate_file.write_bytes(b"".join(pem or certificate()))
    inside, below = contexts(certificate_file)
    server = Server(folder, {name.lower(): password for name, password in users.items()}, databases)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    listening = Listening(server, listeners[0].socket.getsockname()[1], inside, below, wants, fault)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, listening.serve, listeners)
        try:
            yield listening
        finally:
            nursery.cancel_scope.cancel()


async def main(arguments: argparse.Namespace, say: Callable[[str], object] = print) -> int:
    """Serve until SIGINT or SIGTERM. Returns the status of the process: 1 where the server itself had a fault."""
    users = dict(each.partition(":")[::2] for each in arguments.user or ["sa:secret"])
    with tempfile.TemporaryDirectory(prefix="rdsp-sqlserver-", dir=arguments.folder) as folder:
        pem = certificate()
        if arguments.certificate is not None:
            arguments.certificate.write_bytes(pem[0])
        async with running(
            Path(folder),
            users=users,
            databases=arguments.database or ["app"],
            wants=Encryption(arguments.encrypt),
            port=arguments.port,
            pem=pem,
            fault=lambda why: print(why, file=sys.stderr, flush=True),
        ) as listening:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                say(f"port {listening.port}")
                sys.stdout.flush()
                async for _ in signals:
                    break
            return int(listening.broken)


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser(prog="python -m tests.servers.sqlserver", description="A reference server for TDS.")
    made.add_argument("--port", type=int, default=0, help="where it listens; 0, the default: on a free one")
    made.add_argument("--user", action="append", help="NAME:PASSWORD; sa:secret if none is given")
    made.add_argument("--database", action="append", help="a database's name; app if none is given")
    made.add_argument("--encrypt", choices=("none", "login", "all"), default="login", help="what must be encrypted")
    made.add_argument("--folder", help="where its data's folder is made")
    made.add_argument("--certificate", type=Path, help="a file into which its certificate is written")
    return made


if __name__ == "__main__":
    sys.exit(trio.run(main, parser().parse_args()))
