"""Many clients that do whatever clients do, and a database that has troubles: the one big simulation."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import attrs
import trio

from rdsp.config.model import Limits, TargetGroup
from rdsp.net.memory import Script
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, Reply, World, parse, proxy, world

LOST = {"08006", "57P01", "XX000", "08P01"}
"""What a client may hear when its backend dies under it. (XX000 and 08P01 are looked at apart.)"""
NO_BACKEND = {"08000", "53300", "08001"}


@attrs.frozen
class Weather:
    """What kind of storm.

    Attributes:
        clients, backends: how many.
        seconds: how long, roughly, of virtual time.
        think: seconds between requests, at most.
        kills: seconds between killed backends, 0 for none.
        outages: seconds between times in which the database is down, 0 for none.
        rude: part of the clients that leave without a word.
        split: part of the connections whose bytes come in pieces.
        borrow_timeout: seconds.
    """

    clients: int = 20
    backends: int = 3
    seconds: float = 60.0
    think: float = 2.0
    kills: float = 0.0
    outages: float = 0.0
    rude: float = 0.3
    split: float = 0.3
    borrow_timeout: float = 30.0


class Wrong(AssertionError):
    """A client was told something false."""


class StormClient:
    """One client's life. Invariant: it leaves as soon as the proxy has ended its connection, and never before."""

    def __init__(self, world: World, number: int, weather: Weather, rng: random.Random) -> None:
        self.world = world
        self.name = f"c{number}"
        self.weather = weather
        self.rng = rng
        self.acknowledged: list[str] = []
        self.client: Client
        self.answers = Counter[str]()
        self.is_set = False
        self.prepared: dict[str, str] = {}
        self.serial = 0

    def script(self) -> Script:
        rng = self.rng
        if rng.random() > self.weather.split:
            return Script(delay=rng.choice([0.0, 0.001]))
        return Script(
            split=[rng.choice([1, 2, 3, 5, 7, 100, 4000]) for _ in range(rng.randint(1, 6))] + [20000],
            accept=rng.choice([(), (300, 5000)]),
            delay=rng.choice([0.0, 0.002, 0.1]),
            gap=rng.choice([1e-6, 0.0005]),
            capacity=rng.choice([4096, 1 << 16]),
        )

    async def live(self) -> None:
        rng = self.rng
        end = trio.current_time() + self.weather.seconds * rng.uniform(0.3, 1.0)
        await trio.sleep(rng.uniform(0, self.weather.think))
        while trio.current_time() < end:
            client = self.client = self.world.dial(self.name, self.script(), self.script())
            # Names of statements and marks go on over connections: a text is sent once in a client's life.
            client.serial = self.serial
            self.prepared.clear()
            self.is_set = False
            reply = await client.login()
            if reply.status == "I":
                await self._requests(end)
            elif not set(reply.errors) <= NO_BACKEND | LOST:
                raise Wrong(f"{self.name} was not let in: {reply}")
            self.serial = client.serial
            client.transport.close()
            await trio.sleep(rng.uniform(0, self.weather.think))

    async def _requests(self, end: float) -> None:
        rng = self.rng
        actions = (
            (self.select, 40),
            (self.transaction, 20),
            (self.fail, 5),
            (self.prepare, 15),
            (self.big, 3),
            (self.pipeline, 8),
            (self.sleep_and_cancel, 6),
            (self.slow_sender, 4),
            (self.set_and_show, 2),
            (self.die, 1),
        )
        while trio.current_time() < end:
            if rng.random() < 0.01:
                await self.client.leave()
                return
            if rng.random() < 0.02 * self.weather.rude:
                await self.vanish()
                return
            (action,) = rng.choices([a for a, _ in actions], [w for _, w in actions])
            if not await action():
                return
            await trio.sleep(rng.expovariate(2 / self.weather.think))

    # -- requests: each returns whether the connection goes on ----------------------------------------------------

    def _judge(self, reply: Reply, texts: list[str], rows: list[str] | None, status: str = "I") -> bool:
        """A reply that must be `rows`, or honest about why not."""
        self.answers.update(reply.errors or ["ok"])
        if reply.errors:
            code = reply.errors[-1]
            if reply.status == "" and code in LOST:
                return False
            if code in NO_BACKEND and reply.status == "I":
                return True
            raise Wrong(f"{self.name}: {texts} got {reply}")
        if reply.status == "":
            return False  # its backend died in the middle of a message
        if reply.status != status or (rows is not None and reply.rows != rows):
            raise Wrong(f"{self.name}: {texts} wanted {rows} {status}, got {reply}")
        self.acknowledged += texts
        return True

    async def _ask(self, text: str, rows: list[str] | None, status: str = "I") -> bool:
        marked = self.client.mark(text)
        await self.client.send(m.query(marked))
        return self._judge(await self.client.reply(), [marked], rows, status)

    async def select(self) -> bool:
        n = str(self.rng.randrange(10**9))
        return await self._ask(f"SELECT {n}", [n])

    async def fail(self) -> bool:
        reply = await self.client.query("FAIL")
        if reply.errors == ["XX001"] and reply.status == "I":
            return True
        return self._judge(reply, [], None)

    async def transaction(self) -> bool:
        rng, client = self.rng, self.client
        reply = await client.query("BEGIN")
        if reply.status != "T":
            return self._judge(reply, [], None)
        for _ in range(rng.randrange(4)):
            await trio.sleep(rng.uniform(0, 0.2))
            n = str(rng.randrange(10**9))
            if not await self._ask(f"SELECT {n}", [n], "T"):
                return False
        if rng.random() < 0.2:
            reply = await client.query("FAIL")
            if reply.status == "":
                return False
            if reply.status != "E":
                raise Wrong(f"{self.name}: a failed transaction was not told: {reply}")
            after = await client.query("SELECT 1")
            if not set(after.errors) <= {"25P02"} | LOST or after.rows:
                raise Wrong(f"{self.name}: a failed transaction went on: {reply}")
        if rng.random() < 0.1 * self.weather.rude:
            await self.vanish()
            return False
        reply = await client.query(rng.choice(["COMMIT", "ROLLBACK"]))
        return self._judge(reply, [], [])

    async def prepare(self) -> bool:
        """Statements under names that other clients use too, for other texts."""
        rng, client = self.rng, self.client
        name = rng.choice(["a", "b", "s1", ""])
        value = client.mark(str(rng.randrange(10**6)))
        if name in self.prepared and name:
            reply = await client.run_prepared(name, value)
        else:
            text = f"SELECT $1 of {rng.choice(['x', 'y', self.name])}"
            reply = await client.prepare_and_run(name, text, value)
            if reply.status and not reply.errors:
                self.prepared[name] = text
        marked = f"{self.prepared.get(name, '')} <- {[value]}"
        return self._judge(reply, [marked] if not reply.errors else [], [value])

    async def big(self) -> bool:
        n = self.rng.choice([5000, 100_000, 300_000])
        return await self._ask(f"BIG {n}", ["x" * 1000] * (n // 1000))

    async def pipeline(self) -> bool:
        numbers = [str(self.rng.randrange(10**9)) for _ in range(self.rng.randint(2, 5))]
        marked = [self.client.mark(f"SELECT {n}") for n in numbers]
        await self.client.send(b"".join(map(m.query, marked)))
        for n, text in zip(numbers, marked, strict=True):
            if not self._judge(await self.client.reply(), [text], [n]):
                return False
        return True

    async def slow_sender(self) -> bool:
        n = str(self.rng.randrange(10**9))
        marked = self.client.mark(f"SELECT {n}")
        data = m.query(marked)
        cut = self.rng.randrange(1, len(data))
        await self.client.send(data[:cut])
        await trio.sleep(self.rng.uniform(0, 3))
        await self.client.send(data[cut:])
        return self._judge(await self.client.reply(), [marked], [n])

    async def sleep_and_cancel(self) -> bool:
        """Whatever a cancel hits, it is this request or nothing."""
        client, rng = self.client, self.rng
        async with trio.open_nursery() as nursery:
            if rng.random() < 0.7:
                nursery.start_soon(self._cancel_soon)
            reply = await client.query(f"SLEEP {rng.choice([0.01, 0.5, 2])}")
        if reply.errors == ["57014"] and reply.status == "I":
            self.answers["57014"] += 1
            return True
        return self._judge(reply, [], ["slept"])

    async def _cancel_soon(self) -> None:
        await trio.sleep(self.rng.uniform(0, 1))
        await self.world.cancel(self.client)

    async def set_and_show(self) -> bool:
        """A session setting: seen by this session only."""
        reply = await self.client.query("SET x")
        if not self._judge(reply, [], []):
            return False
        if reply.errors:
            return True
        for _ in range(2):
            if not await self._ask("SHOWX", [self.name]):
                return False
            await trio.sleep(self.rng.uniform(0, 1))
        await self.client.leave()
        return False

    async def die(self) -> bool:
        reply = await self.client.query("DIE")
        if reply.status == "I" and set(reply.errors) <= NO_BACKEND:
            return True
        if reply.status or reply.rows or not set(reply.errors) <= LOST:
            raise Wrong(f"{self.name}: a dying backend said {reply}")
        return False

    async def vanish(self) -> None:
        """Leave without a word, wherever we are."""
        rng, client = self.rng, self.client
        data = rng.choice(
            [
                b"",
                m.query(client.mark("SELECT 1")),
                m.query(client.mark("SLEEP 30")),
                m.query(client.mark("BIG 200000")),
                m.query(client.mark("BEGIN")) + m.query(client.mark("SELECT 2")),
                parse("gone", "SELECT $1") + m.FLUSH,
            ]
        )
        await client.send(data[: rng.choice([len(data), len(data) // 2])])
        await trio.sleep(rng.choice([0.0, 0.0, 0.0005, 0.5]))
        how = rng.randrange(3)
        if how == 0:
            client.transport.reset()
        elif how == 1:
            client.transport.shutdown()
            await trio.sleep(rng.uniform(0, 1))


async def _kills(world: World, weather: Weather, rng: random.Random) -> None:
    while True:
        await trio.sleep(rng.expovariate(1 / weather.kills))
        live = [c for c in world.database.live if c.logged_in]
        if live:
            victim = rng.choice(sorted(live, key=lambda c: c.number))
            victim.terminate(rng.choice([None, b""]))


async def _outages(world: World, weather: Weather, rng: random.Random) -> None:
    database = world.database
    while True:
        await trio.sleep(rng.expovariate(1 / weather.outages))
        kind = rng.randrange(3)
        if kind == 0:
            database.down = True
            database.kill_all()
        elif kind == 1:
            database.refusal = ("53300", "sorry, too many clients already")
        else:
            database.login_delay = 2.0
        await trio.sleep(rng.uniform(0.1, 20))
        database.down, database.refusal, database.login_delay = False, None, 0.0


async def storm(weather: Weather, seed: int) -> Counter[str]:
    """Run one storm; afterwards all must be whole, and every answer true. Returns how often which answer came."""
    rng = random.Random(seed)
    group = TargetGroup(max_backends=weather.backends, connection_borrow_timeout=weather.borrow_timeout)
    limits = Limits(abandoned_query_timeout=40.0, login_timeout=300.0)
    settings = proxy(group, limits, idle_client_timeout=28800.0)
    batches = rng.choice([1, 4])
    strain = (seed % 3 + 1, seed % 5 + 1) if seed % 2 else (128, 4096)
    async with world(settings, shuffle=random.Random(seed), batches=batches, strain=strain) as w:
        w.database.cancel_delay = rng.choice([0.0, 0.003])
        w.database.service_time = rng.choice([0.0, 0.001, 0.05])
        if weather.split:
            w.database.scripts = lambda: (
                Script(split=[rng.choice([3, 1000])] * 3 + [30000]) if rng.random() < weather.split else Script(),
                Script(split=[rng.choice([1, 7, 900])] * 9 + [30000], delay=rng.choice([0, 0.001])),
            )
        clients = [StormClient(w, n, weather, random.Random(seed * 1000 + n)) for n in range(1, weather.clients + 1)]
        async with trio.open_nursery() as troubles:
            if weather.kills:
                troubles.start_soon(partial(_kills, w, weather, random.Random(seed + 1)))
            if weather.outages:
                troubles.start_soon(partial(_outages, w, weather, random.Random(seed + 2)))
            with trio.move_on_after(2 * weather.seconds + 1000) as patience:
                async with trio.open_nursery() as nursery:
                    for client in clients:
                        nursery.start_soon(client.live)
            assert not patience.cancelled_caught, (
                f"somebody waits for ever: {list(w.context.registry)} {w.statistics()}"
            )
            troubles.cancel_scope.cancel()
        w.database.down, w.database.refusal, w.database.login_delay = False, None, 0.0
        await w.settle()
        check(w, weather, clients)
        return sum((client.answers for client in clients), Counter())


def check(w: World, weather: Weather, clients: list[StormClient]) -> None:
    """What must hold of everything that ran."""
    assert w.database.most <= weather.backends
    times = w.database.times()
    repeated = {text: count for text, count in times.items() if count > 1 and "<-" not in text and "/*" in text}
    assert not repeated, repeated
    done = Counter(ran.text for ran in w.database.ran() if ran.outcome == "ok")
    for client in clients:
        for text in client.acknowledged:
            assert done[text] == 1, (text, done[text])
    for end in w.witness.ends:
        assert "protocol" not in end.reason or end.blame == "client", end
    codes = Counter(end.reason for end in w.witness.ends)
    assert not codes["server.protocol_violation"], [
        e for e in w.witness.ends if e.reason == "server.protocol_violation"
    ]
