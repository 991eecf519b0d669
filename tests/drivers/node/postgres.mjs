// postgres.js (`postgres`): prepares by default, sends without waiting, a pool in itself.
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import postgres from 'postgres'
import { CA, SCHEMA, crowd, fails, main, part, say, until } from './transcript.mjs'

const open = (more = {}) => postgres({ max: 1, onnotice: () => {}, ...more })

part('types', async () => {
  const sql = open()
  for (const value of [1, 'ä€😀', true, null, 1.5, new Date(0), { a: 1 }, [1, 2], Buffer.from([0, 255])]) {
    const given = Array.isArray(value) ? sql.array(value) : value && value.constructor === Object ? sql.json(value) : value
    await fails('value', () => sql`SELECT ${given} AS v`)
  }
  say(await sql`SELECT ${2 ** 40}::int8 AS a, ${'1.50'}::numeric AS b, ${[1, 2]}::int[] AS c, ${sql.json({ x: [1] })}::jsonb AS d`)
  const rows = await sql`SELECT 1 AS a, 'x'::text AS b`
  say(rows.columns.map((column) => [column.name, column.type]), rows.command, rows.count)
  say(await sql`SELECT 1, 2`.values(), await sql`SELECT ${1}::int AS v`.describe().then((made) => made.types))
  await sql.end()
})

part('prepared', async () => {
  const clients = [open(), open(), open({ prepare: false })]
  for (let turn = 0; turn < 8; turn++) {
    for (const [number, sql] of clients.entries()) {
      say(turn, number, await sql`SELECT ${turn}::int + ${number}::int AS n, ${'t'} || ${number}::text AS t`)
    }
  }
  await clients[0].unsafe(`CREATE TABLE ${SCHEMA}.ddl (a int)`)
  await clients[0].unsafe(`INSERT INTO ${SCHEMA}.ddl VALUES (1)`)
  const all = (sql) => sql`SELECT * FROM ${sql(SCHEMA)}.ddl`
  for (const sql of clients) say(await all(sql))
  await clients[1].unsafe(`ALTER TABLE ${SCHEMA}.ddl ADD b int`)
  for (const sql of clients) await fails('after DDL', () => all(sql))
  for (const sql of clients) await fails('once more', () => all(sql))
  await clients[1].unsafe(`DROP TABLE ${SCHEMA}.ddl`)
  for (const sql of clients) await fails('dropped', () => all(sql))
  for (const sql of clients) await sql.end()
})

part('pipelined', async () => {
  const sql = open({ max_pipeline: 50 })
  for (let turn = 0; turn < 5; turn++) {
    const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => sql`SELECT ${n}::int AS n`))
    say(answers.map((rows) => rows[0].n).join(','))
    const mixed = await Promise.allSettled([
      sql`SELECT ${1}::int AS n`,
      sql`SELECT 1 / ${0}::int AS n`,
      sql`SELECT ${'three'} AS n`,
      sql.unsafe('SELECT 4 AS n; SELECT 5 AS n'),
      sql.unsafe('SELEC'),
      sql`SELECT ${6}::int AS n`,
      sql`SELECT * FROM nowhere`,
      sql`SELECT ${8}::int AS n`,
    ])
    say(mixed.map(({ value, reason }) => reason?.message ?? value))
  }
  await sql.end()
})

part('transactions', async () => {
  const [sql, other] = [open(), open()]
  await other.unsafe(`CREATE TABLE ${SCHEMA}.tx (a int PRIMARY KEY)`)
  say(await sql.begin('isolation level serializable', async (tx) => {
    await tx`INSERT INTO ${tx(SCHEMA)}.tx VALUES (1)`
    await fails('savepoint', () => tx.savepoint(async (inner) => {
      await inner`INSERT INTO ${inner(SCHEMA)}.tx VALUES (2)`
      await inner`INSERT INTO ${inner(SCHEMA)}.tx VALUES (1)`
    }))
    return [await tx`SHOW transaction_isolation`, await tx`SELECT count(*)::int FROM ${tx(SCHEMA)}.tx`]
  }))
  await fails('undone', () => sql.begin(async (tx) => {
    await tx`DELETE FROM ${tx(SCHEMA)}.tx`
    throw new Error('changed my mind')
  }))
  await fails('array', () => sql.begin((tx) => [tx`INSERT INTO ${tx(SCHEMA)}.tx VALUES (7)`, tx`SELECT 1/0`, tx`SELECT 1`]))
  say(await other`SELECT a FROM ${other(SCHEMA)}.tx ORDER BY a`)
  await other`INSERT INTO ${other(SCHEMA)}.tx ${other(Array.from({ length: 500 }, (_, n) => ({ a: n + 100 })))}`
  say(await sql`SELECT count(*)::int, max(a) FROM ${sql(SCHEMA)}.tx`)
  const reserved = await sql.reserve()
  say(await reserved`SELECT 'reserved' AS v`)
  reserved.release()
  await other.unsafe(`DROP TABLE ${SCHEMA}.tx`)
  await sql.end()
  await other.end()
})

part('cursors', async () => {
  const sql = open()
  await sql`SELECT n FROM generate_series(1, 25) n`.cursor(10, (rows) => say(rows.map((row) => row.n)))
  for await (const [row] of sql`SELECT n FROM generate_series(1, 100000) n`.cursor()) {
    say(row)
    if (row.n === 3) break
  }
  say(await sql`SELECT 'alive' AS v`)
  let sum = 0
  await sql`SELECT n FROM generate_series(1, 5000) n`.forEach((row) => { sum += row.n })
  say(sum)
  await fails('broken', () => sql`SELECT 10 / (3 - n) AS q FROM generate_series(1, 5) n`.cursor(1, (rows) => say(rows)))
  say(await sql`SELECT 'alive' AS v`)
  await sql.end()
})

part('copies', async () => {
  const sql = open()
  await sql.unsafe(`CREATE TABLE ${SCHEMA}.copied (a int, b text)`)
  const into = () => sql`COPY ${sql(SCHEMA)}.copied FROM STDIN`.writable()
  await pipeline(Readable.from(Array.from({ length: 1500 }, (_, n) => `${n}\tx\n`)), await into())
  let size = 0
  for await (const chunk of await sql`COPY (SELECT * FROM ${sql(SCHEMA)}.copied ORDER BY a) TO STDOUT`.readable()) size += chunk.length
  say(size)
  say(await sql`SELECT count(*)::int FROM ${sql(SCHEMA)}.copied`)
  await sql.unsafe(`DROP TABLE ${SCHEMA}.copied`)
  await sql.end()
})

part('errors', async () => {
  const sql = open()
  for (const text of ['SELEC 1', 'SELECT nix', 'SELECT * FROM nowhere', "SELECT 'x'::int", 'COMMIT; SELECT 1/0']) {
    await fails(text, () => sql.unsafe(text))
    await fails(text, () => sql.unsafe(text, [], { prepare: true }))
    say(await sql`SELECT ${'alive'} AS v`)
  }
  await fails('password', () => open({ password: 'wrong' })`SELECT 1`)
  await fails('database', () => open({ database: 'nowhere' })`SELECT 1`)
  const sleeping = sql`SELECT pg_sleep(20)`.execute()
  setTimeout(() => sleeping.cancel(), 400)
  await fails('cancelled', () => sleeping)
  say(await sql`SELECT 'alive' AS v`)
  await sql.end()
})

part('settings', async () => {
  const notices = []
  const sql = open({ connection: { application_name: 'by postgres', work_mem: '2MB' }, onnotice: (n) => notices.push(n.message) })
  say(await sql`SHOW application_name`, await sql`SHOW work_mem`)
  await sql`SET application_name = 'renamed'`
  say(await sql`SHOW application_name`, sql.parameters.application_name, sql.parameters.server_encoding)
  await sql.unsafe("DO $$ BEGIN RAISE NOTICE 'noted'; END $$")
  say(notices)
  await sql.end()
})

part('pool', async () => {
  const sql = open({ max: 5, idle_timeout: 1, max_lifetime: 5 })
  const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => sql`SELECT ${n}::int AS n`))
  say(answers.every((rows, n) => rows[0].n === n))
  const begun = await Promise.all(
    Array.from({ length: 20 }, (_, n) => sql.begin(async (tx) => (await tx`SELECT ${n}::int AS n`)[0].n)),
  )
  say(begun)
  await sql.end({ timeout: 5 })
})

part('large', async () => {
  const sql = open()
  for (const size of [9000, 70000, 3000000]) {
    const value = 'ä'.repeat(size)
    say(size, (await sql`SELECT ${value}::text AS v`)[0].v === value)
  }
  say((await sql`SELECT n, repeat('z', 100) FROM generate_series(1, 30000) n`).length)
  await sql.end()
})

part('encrypted', async () => {
  if (!CA) return
  const sql = open({ host: 'localhost', ssl: { ca: CA } })
  say(await sql`SELECT length(repeat('t', 1000000)) AS n`)
  await sql.end()
})

// Listens on a connection of its own, and notifies from another.
crowd('notifications', async () => {
  const sql = open()
  const heard = []
  const { unlisten } = await sql.listen(`channel_${SCHEMA}`, (payload) => heard.push(payload))
  await sql.notify(`channel_${SCHEMA}`, 'one')
  await sql.notify(`channel_${SCHEMA}`, 'two')
  await until(() => heard.length === 2)
  say(heard)
  await unlisten()
  await sql.end()
})

await main()
