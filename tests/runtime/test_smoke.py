import time

import trio

from tests.runtime.world import TargetGroup, proxy, world


async def test_a_client_gets_answers(clock):
    async with world() as w:
        c = await w.client()
        r = await c.query("SELECT 5")
        assert r.rows == ["5"] and r.status == "I"
        r = await c.query("BEGIN")
        assert r.status == "T"
        r = await c.query("FAIL")
        assert r.status == "E" and r.errors == ["XX001"]
        r = await c.query("ROLLBACK")
        assert r.status == "I"
        r = await c.prepare_and_run("a", "SELECT $1", c.mark("hello"))
        assert r.errors == [] and r.rows[0].startswith("hello")
        r = await c.run_prepared("a", c.mark("again"))
        assert r.errors == [] and r.rows[0].startswith("again")
        r = await c.query("DIE")
        assert r.status == "" and r.errors == [] and r.rows == []
        c.transport.close()
        await w.settle()


async def test_many(clock):
    t = time.perf_counter()
    async with world(proxy(TargetGroup(max_backends=5))) as w:

        async def one(i):
            c = await w.client()
            for k in range(20):
                await trio.sleep(1)
                r = await c.query(f"SELECT {k}")
                assert r.rows == [str(k)], r
            await c.leave()

        async with trio.open_nursery() as n:
            for i in range(300):
                n.start_soon(one, i)
        await w.settle()
        assert w.database.most <= 5
    print(time.perf_counter() - t)
