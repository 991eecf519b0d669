"""A toy server on a TCP port of this machine: `python -m rdsp_toy.server [PORT]`. Its user is app, password secret."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from functools import partial

import trio

from rdsp_toy.lines import error, line, proof_of
from rdsp_toy.model import Session

USERS = {"app": "secret"}


class Server:
    """All connections of it.

    Attributes:
        most: how many connections were logged in at once.
    """

    def __init__(self, max_connections: int = 20) -> None:
        self.max_connections = max_connections
        self.store: dict[str, str] = {}
        self.most = 0
        self._numbers = 0
        self._live: dict[int, tuple[bytes, list[trio.CancelScope]]] = {}
        """Number to secret, and to what can be cancelled."""

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, from its beginning to its end."""
        try:
            async with stream:
                lines = _lines(stream)
                number = await self._log_in(stream, lines)
                if number:
                    try:
                        await self._answer(stream, lines, number)
                    finally:
                        del self._live[number]
        except (trio.BrokenResourceError, trio.ClosedResourceError, UnicodeDecodeError, ValueError):
            return

    async def _log_in(self, stream: trio.SocketStream, lines: AsyncIterator[str]) -> int:
        """Returns the connection's number; 0 for who does not get in."""
        words = (await anext(lines, "")).split(" ")
        if words == ["TLS"]:
            await stream.send_all(b"NO\n")
            words = (await anext(lines, "")).split(" ")
        if words[0] == "CANCEL":
            self._cancel(int(words[1]), bytes.fromhex(words[2]))
            return 0
        if words[0] != "HELLO" or len(words) < 3:
            return 0
        nonce = os.urandom(16)
        await stream.send_all(line("PROVE", nonce.hex()))
        proof = await anext(lines, "")
        password = USERS.get(words[1])
        if password is None or proof != f"PROOF {proof_of(password, nonce)}":
            await stream.send_all(error("wrong user or password"))
            return 0
        if len(self._live) >= self.max_connections:
            await stream.send_all(error("too many connections"))
            return 0
        self._numbers += 1
        secret = os.urandom(16)
        self._live[self._numbers] = secret, []
        self.most = max(self.most, len(self._live))
        await stream.send_all(line("INFO", "lang", "en") + line("WELCOME", str(self._numbers), secret.hex()))
        return self._numbers

    def _cancel(self, number: int, secret: bytes) -> None:
        known, running = self._live.get(number, (b"", []))
        if secret == known:
            for scope in running:
                scope.cancel()

    async def _answer(self, stream: trio.SocketStream, lines: AsyncIterator[str], number: int) -> None:
        session = Session(self.store, number, self.max_connections)
        async for request in lines:
            answer = session.run(request)
            if request.startswith("SLEEP ") and not await self._sleep(float(request[6:]), number):
                answer = session.fail("cancelled")
            if session.closed:
                return
            await stream.send_all(answer)

    async def _sleep(self, seconds: float, number: int) -> bool:
        """False when it was cancelled."""
        with trio.CancelScope() as scope:
            self._live[number][1].append(scope)
            try:
                await trio.sleep(seconds)
            finally:
                self._live[number][1].clear()
        return not scope.cancelled_caught


async def _lines(stream: trio.SocketStream) -> AsyncIterator[str]:
    half = b""
    async for data in stream:
        *whole, half = (half + data).split(b"\n")
        for each in whole:
            yield each.decode()


async def main(port: int) -> None:
    """Serve until it is interrupted; the port is told first of all."""
    server = Server()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.serve, port, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        print(f"toy server on port {listener.socket.getsockname()[1]}", flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 7007)
    except* KeyboardInterrupt:
        pass
