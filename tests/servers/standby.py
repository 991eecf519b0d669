"""A real standby: a copy of a running server that follows it by streaming replication and can take its place."""

from __future__ import annotations

from tests.servers.postgres import ADMIN, ADMIN_PASSWORD, TestServer
from tests.waiting import PATIENCE


class Standby(TestServer):
    """A hot standby of `primary`, which must be running. It is read-only until `promote`."""

    __test__ = False

    def __init__(self, primary: TestServer) -> None:
        super().__init__(primary.version)
        self._primary = primary

    def _initialise(self) -> None:
        source = f"host=127.0.0.1 port={self._primary.port} user={ADMIN} password={ADMIN_PASSWORD}"
        copy = ("-D", self.data, "-d", source, "-X", "stream", "-c", "fast", "-R", "--no-sync")
        self._run([self._binaries / "pg_basebackup", *copy])

    def create(self) -> Standby:
        """Copy the primary and start. Returns when it has caught up."""
        self.start()
        self.catch_up()
        return self

    def catch_up(self, seconds: float = PATIENCE) -> None:
        """Wait until what the primary has committed by now is seen here. Raises `RuntimeError` when that takes longer."""
        with self._primary.admin() as primary, self.admin() as here:
            # The servers of the tests commit without waiting for their log: what is in its buffers is not sent.
            primary.execute("SET synchronous_commit = on")
            primary.execute("SELECT pg_logical_emit_message(true, 'catch up', '')")
            row = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
            assert row is not None
            wait = "SELECT pg_last_wal_replay_lsn() >= %s FROM pg_sleep(0.05)"
            for _ in range(round(seconds / 0.05)):
                if here.execute(wait, row).fetchone() == (True,):
                    return
        raise RuntimeError("the standby does not catch up:\n" + self.log()[-2000:])

    def promote(self) -> None:
        """Make it the primary. Returns when it takes writes."""
        with self.admin() as admin:
            if admin.execute("SELECT pg_promote(true, 30)").fetchone() != (True,):
                raise RuntimeError("the standby was not promoted:\n" + self.log()[-2000:])
