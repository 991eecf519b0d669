"""What a toy server does behind the login: bytes in, bytes out, no I/O. `server` runs it, and so does the kit."""

from __future__ import annotations

from rdsp_toy.lines import error, line


# [model]
class Session:
    """One connection's. `store` is the database, which all of them share."""

    def __init__(self, store: dict[str, str], number: int = 1, max_connections: int = 100) -> None:
        self.store = store
        self.facts = {"connection": str(number), "max_connections": str(max_connections)}
        self.lang = "en"
        self.closed = False
        self.effects: list[tuple[str, str]] = []
        """What this connection has put into the database."""
        self._begun: dict[str, str] | None = None
        """What the open transaction would put; None: there is none."""
        self._half = b""

    # For the kit: where the connection stands.

    @property
    def in_transaction(self) -> bool:
        return self._begun is not None

    @property
    def at_rest(self) -> bool:
        return not self._half

    @property
    def session(self) -> object:
        return self.lang

    def feed(self, data: bytes) -> bytes:
        """Take what a client says, return the answers."""
        *lines, self._half = (self._half + data).split(b"\n")
        return b"".join(self.run(each.decode("utf-8", "replace")) for each in lines)

    # [model]

    def run(self, request: str) -> bytes:
        """One request's answer."""
        if self.closed:
            return b""
        command, _, rest = request.partition(" ")
        words = rest.split(" ", 1)
        match command, words:
            case "QUIT", _:
                self.closed = True
                return b""
            case "GET", [key] if key in self._seen:
                return self._ok(self._seen[key])
            case "PUT", [key, value]:
                self._put(key, value)
                return self._ok("put")
            case "COUNT", [number] if number.isdigit() and len(number) < 4:
                rows = [line("ROW", str(row + 1)) for row in range(int(number))]
                return b"".join(rows) + self._ok("counted")
            case "SET", ["lang", value]:
                self.lang = value
                return self._ok("set")
            case "SHOW", ["lang"]:
                return self._ok(self.lang)
            case "SHOW", [name] if name in self.facts:
                return self._ok(self.facts[name])
            case "PING" | "SLEEP", _:
                return self._ok("pong" if command == "PING" else "slept")
            case "BEGIN" | "COMMIT" | "ROLLBACK", _:
                return self._turn(command)
        return self.fail("no such command" if command != "GET" else "no such key")

    def fail(self, text: str) -> bytes:
        """An ERROR, with where the transaction stands."""
        return error(text, "T" if self.in_transaction else "I")

    @property
    def _seen(self) -> dict[str, str]:
        return {**self.store, **(self._begun or {})}

    def _ok(self, text: str) -> bytes:
        return line("OK", "T" if self.in_transaction else "I", text)

    def _put(self, key: str, value: str) -> None:
        if self._begun is not None:
            self._begun[key] = value
        else:
            self.store[key] = value
            self.effects.append((key, value))

    def _turn(self, command: str) -> bytes:
        if (command == "BEGIN") is self.in_transaction:
            return self.fail("there is a transaction" if command == "BEGIN" else "there is no transaction")
        begun, self._begun = self._begun, {} if command == "BEGIN" else None
        if command == "COMMIT":
            for key, value in (begun or {}).items():
                self._put(key, value)
        return self._ok(command.lower())
