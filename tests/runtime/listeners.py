"""Clients that listen, for simulations, and what there is to know about the shared listeners."""

from __future__ import annotations

from rdsp.config.model import TargetGroup
from rdsp.net.memory import Script
from tests.runtime.fake_connection import Connection
from tests.runtime.world import Client, World

THREE = TargetGroup(max_backends=3)
LOOKS = 11.0
"""Seconds after which a shared listener that is not what it should be is lost at the latest."""


def ears(w: World) -> list[Connection]:
    """The shared listeners: they listen to nothing of their own but marks, and to what others want."""
    hearers = w.context.ears._hearers.values()
    numbers = {hearer.backend.state.process_id for hearer in hearers if hearer.backend is not None}
    return [connection for connection in w.database.live if connection.number in numbers]


async def listener(w: World, *channels: str, **how: Script) -> Client:
    """A client that listens and has no backend."""
    client = await w.client(**how)
    for channel in channels:
        reply = await client.query(f"LISTEN {channel}")
        assert (reply.tags, reply.status) == (["LISTEN"], "I")
    hearers = w.context.ears._hearers.values()
    await w.until(lambda: w.statistics().borrowed == sum(hearer.backend is not None for hearer in hearers), 60)
    return client


def listening_in_secret(w: World) -> list[Connection]:
    """Those that listen, and are no shared listeners."""
    return [one for one in w.database.live if one.mail.listening and one not in ears(w)]


async def all_gone(w: World, *clients: Client) -> None:
    """They leave; nobody listens any longer, and nothing is left behind."""
    for client in clients:
        await client.leave()
    await w.settle()
    assert not any(connection.mail.listening for connection in w.database.live)
