"""Records what a client and a server say to each other: a relay in a thread that changes nothing."""

from __future__ import annotations

import select
import socket
import threading
from types import TracebackType

from tests.waiting import PATIENCE


class Recorder:
    """Listens on `port` and takes connections to `server_port`, one after the other.

    `connections` has what was said on each, the client's and the server's bytes, once it is closed.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[tuple[bytearray, bytearray]] = []
        self._over = False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A connection of our own, which says nothing, ends the wait for the next one.
        self._over = True
        with socket.create_connection(("127.0.0.1", self.port)):
            self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._over:
                client.close()
                return
            with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
                said = (bytearray(), bytearray())
                self._relay(client, server, said)
                self.connections.append(said)

    def _relay(self, client: socket.socket, server: socket.socket, said: tuple[bytearray, bytearray]) -> None:
        while True:
            for one in select.select([client, server], [], [], PATIENCE)[0]:
                try:
                    data = one.recv(1 << 16)
                    said[one is server].extend(data)
                    (client if one is server else server).sendall(data)
                except OSError:  # a side that closes with bytes unread resets the connection
                    return
                if not data:
                    return
