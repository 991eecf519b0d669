"""A toy client: `python -m rdsp_toy.client PORT REQUEST...` logs in as app, says them and prints what is answered."""

from __future__ import annotations

import sys

import trio

from rdsp_toy.lines import line, proof_of


class Refused(Exception):
    """The server's ERROR at the login."""


class Client:
    """A connection. `number` and `secret` are what a cancel needs."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.number = 0
        self.secret = ""
        self._half = b""

    @classmethod
    async def connect(cls, port: int, user: str = "app", password: str = "secret", database: str = "shop") -> Client:
        """Log in on this machine. Raises `Refused`."""
        client = cls(await trio.open_tcp_stream("127.0.0.1", port))
        await client.say(f"HELLO {user} {database}")
        words = (await client.line()).split(" ")
        if words[0] == "PROVE":
            await client.say("PROOF " + proof_of(password, bytes.fromhex(words[1])))
            words = (await client.line()).split(" ")
        while words[0] == "INFO":
            words = (await client.line()).split(" ")
        if words[0] != "WELCOME":
            await client.stream.aclose()
            raise Refused(" ".join(words))
        client.number, client.secret = int(words[1]), words[2]
        return client

    async def cancel(self, port: int) -> None:
        """Have what runs on this connection cancelled, by a second one."""
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(line("CANCEL", str(self.number), self.secret))
            async for _ in stream:
                pass

    async def say(self, request: str) -> None:
        """Without waiting for an answer."""
        await self.stream.send_all(line(request))

    async def line(self) -> str:
        """The next line; "" at the end."""
        while b"\n" not in self._half:
            data = await self.stream.receive_some()
            if not data:
                return ""
            self._half += data
        found, _, self._half = self._half.partition(b"\n")
        return found.decode()

    async def ask(self, request: str) -> list[str]:
        """Say it, and read its answer: all its lines."""
        await self.say(request)
        lines = [await self.line()]
        while lines[-1].startswith("ROW "):
            lines.append(await self.line())
        return lines


async def main(port: int, *requests: str) -> None:
    """Say the requests one after the other."""
    client = await Client.connect(port)
    async with client.stream:
        for request in requests:
            for each in await client.ask(request):
                print(each)  # noqa: T201
        await client.say("QUIT")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), *sys.argv[2:])
