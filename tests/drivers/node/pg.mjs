// node-postgres (`pg`): clients, named statements, cursors, COPY streams, its Pool.
import { pipeline } from 'node:stream/promises'
import { Readable, Writable } from 'node:stream'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { CA, SCHEMA, fails, main, part, say, until } from './transcript.mjs'

async function connect(more = {}) {
  const client = new pg.Client(more)
  client.on('error', () => {})
  await client.connect()
  return client
}

const collected = () => {
  const chunks = []
  const sink = new Writable({ write(chunk, _, done) { chunks.push(chunk); done() } })
  return [sink, () => Buffer.concat(chunks)]
}

part('types', async () => {
  const client = await connect()
  for (const [kind, value] of [
    ['int4', 7], ['int8', '9007199254740993'], ['numeric', '1.500'], ['float8', 1.25], ['text', "ä€😀'"],
    ['bytea', Buffer.from([0, 255])], ['bool', true], ['timestamptz', new Date(0)], ['jsonb', { a: [1, null] }],
    ['int4[]', [1, null, 3]], ['text[]', ['a,b', '"', '']], ['uuid', '00000000-0000-0000-0000-000000000001'],
    ['date', '2020-02-29'], ['interval', '1 day 2 hours'],
  ]) {
    for (const given of [value, null]) {
      const { rows, fields } = await client.query(`SELECT $1::${kind} AS v`, [given])
      say(kind, rows, fields.map((field) => [field.name, field.dataTypeID, field.format]))
    }
  }
  const binary = await client.query({ text: 'SELECT $1::int4 AS a, $2::text AS b', values: [1, 'x'], binary: true })
  say(binary.rows, binary.fields.map((field) => field.format))
  const array = await client.query({ text: 'SELECT 1, 2, NULL', rowMode: 'array' })
  say(array.rows)
  await client.end()
})

part('named', async () => {
  const clients = [await connect(), await connect(), await connect()]
  for (let turn = 0; turn < 8; turn++) {
    for (const [number, client] of clients.entries()) {
      // the same name, with another text in each client
      const { rows } = await client.query({ name: 'same', text: `SELECT $1::int + ${number} AS n`, values: [turn] })
      say(turn, number, rows)
    }
  }
  await clients[0].query(`CREATE TABLE ${SCHEMA}.ddl (a int)`)
  await clients[0].query(`INSERT INTO ${SCHEMA}.ddl VALUES (1)`)
  const all = { name: 'all', text: `SELECT * FROM ${SCHEMA}.ddl` }
  for (const client of clients) say((await client.query(all)).rows)
  await clients[1].query(`ALTER TABLE ${SCHEMA}.ddl ADD b int`)
  for (const client of clients) await fails('after DDL', () => client.query(all))
  await clients[1].query(`ALTER TABLE ${SCHEMA}.ddl DROP b`)
  for (const client of clients) say((await client.query(all)).rows)
  await fails('other text', () => clients[0].query({ name: 'all', text: 'SELECT 1' }))
  await fails('bad', () => clients[0].query({ name: 'bad', text: 'SELEC' }))
  await fails('bad again', () => clients[0].query({ name: 'bad', text: 'SELECT $1::int', values: ['x'] }))
  await clients[0].query(`DROP TABLE ${SCHEMA}.ddl`)
  for (const client of clients) await fails('dropped', () => client.query(all))
  for (const client of clients) await client.end()
})

part('queued', async () => {
  // pg sends the next query when the last one is answered; the caller need not wait
  const client = await connect()
  const results = await Promise.allSettled([
    ...Array.from({ length: 40 }, (_, n) => client.query('SELECT $1::int AS n', [n])),
    client.query('SELECT 1/0'),
    client.query('SELECT 1 AS one; SELECT 2 AS two'),
    client.query(''),
    client.query('SELECT 1; SELECT 1/0; SELECT 3'),
    client.query('SELECT 4 AS four'),
  ])
  for (const { value, reason } of results) {
    const sets = reason ? [] : [value].flat()
    say(reason?.message ?? sets.map((set) => [set.command, set.rowCount, set.rows]))
  }
  await client.end()
})

part('transactions', async () => {
  const [client, other] = [await connect(), await connect()]
  await other.query(`CREATE TABLE ${SCHEMA}.tx (a int PRIMARY KEY)`)
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
  await client.query(`INSERT INTO ${SCHEMA}.tx VALUES ($1)`, [1])
  await client.query('SAVEPOINT s')
  await fails('twice', () => client.query(`INSERT INTO ${SCHEMA}.tx VALUES (1)`))
  await fails('aborted', () => client.query('SELECT $1::int', [1]))
  await client.query('ROLLBACK TO s')
  await client.query('COMMIT')
  say((await other.query(`SELECT * FROM ${SCHEMA}.tx`)).rows)
  await client.query('BEGIN')
  await client.query(`DELETE FROM ${SCHEMA}.tx`)
  await client.query('ROLLBACK')
  say((await other.query(`SELECT count(*) FROM ${SCHEMA}.tx`)).rows)
  await other.query(`DROP TABLE ${SCHEMA}.tx`)
  await client.end()
  await other.end()
})

part('cursors', async () => {
  const client = await connect()
  const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, $1::int) n', [25]))
  for (let turn = 0; turn < 4; turn++) say(await cursor.read(10))
  await cursor.close()
  const early = client.query(new Cursor('SELECT n FROM generate_series(1, 100000) n'))
  say(await early.read(3))
  await early.close()
  say((await client.query("SELECT 'alive' AS v")).rows)
  const broken = client.query(new Cursor('SELECT 10 / (3 - n) AS q FROM generate_series(1, 5) n'))
  await fails('broken', async () => [await broken.read(1), await broken.read(5)])
  say((await client.query("SELECT 'alive' AS v")).rows)
  await client.query('BEGIN')
  const [first, second] = [new Cursor("SELECT 'a', n FROM generate_series(1, 9) n"), new Cursor('SELECT 2')]
  client.query(first)
  say(await first.read(2))
  await first.close()
  client.query(second)
  say(await second.read(2))
  await client.query('COMMIT')
  await client.end()
})

part('copies', async () => {
  const client = await connect()
  await client.query(`CREATE TABLE ${SCHEMA}.copied (a int, b text)`)
  const into = () => client.query(copyFrom(`COPY ${SCHEMA}.copied FROM STDIN`))
  const rows = Array.from({ length: 5000 }, (_, n) => `${n}\t${'x'.repeat(n % 90)}\n`)
  await pipeline(Readable.from(rows), into())
  const [sink, got] = collected()
  await pipeline(client.query(copyTo(`COPY (SELECT * FROM ${SCHEMA}.copied ORDER BY a) TO STDOUT`)), sink)
  say(got().length, got().subarray(0, 20).toString())
  await fails('bad', () => pipeline(Readable.from(Array.from({ length: 500 }, () => 'x\ty\n')), into()))
  await fails('nowhere', () => pipeline(Readable.from(['1\n']), client.query(copyFrom('COPY nowhere FROM STDIN'))))
  say((await client.query(`SELECT count(*), sum(length(b)) FROM ${SCHEMA}.copied`)).rows)
  await client.query(`DROP TABLE ${SCHEMA}.copied`)
  await client.end()
})

part('errors', async () => {
  const client = await connect()
  for (const text of ['SELEC 1', 'SELECT nix', 'SELECT * FROM nowhere', "SELECT 'x'::int", 'COMMIT; SELECT 1/0']) {
    await fails(text, () => client.query(text))
    await fails(text, () => client.query({ text, queryMode: 'extended' }))
    say((await client.query('SELECT $1::text AS v', ['alive'])).rows)
  }
  await fails('password', () => connect({ password: 'wrong' }))
  await fails('database', () => connect({ database: 'nowhere' }))
  const timed = await connect({ statement_timeout: 1000 })
  await fails('statement_timeout', () => timed.query('SELECT pg_sleep(300)'))
  say((await timed.query('SHOW statement_timeout')).rows)
  await timed.end()
  await client.end()
})

part('settings', async () => {
  const client = await connect({ application_name: 'by pg', options: '-c work_mem=2MB', client_encoding: 'UTF8' })
  say((await client.query('SHOW application_name')).rows, (await client.query('SHOW work_mem')).rows)
  const heard = []
  client.on('notice', (notice) => heard.push([notice.severity, notice.message]))
  await client.query("DO $$ BEGIN RAISE NOTICE 'noted'; RAISE WARNING 'warned'; END $$")
  say(heard)
  await client.query("SET application_name = 'renamed'")
  say((await client.query('SHOW application_name')).rows)
  await client.query('RESET application_name')
  say((await client.query('SHOW application_name')).rows)
  await client.end()
})

part('notifications', async () => {
  const client = await connect()
  const heard = []
  client.on('notification', ({ channel, payload }) => heard.push([channel, payload]))
  await client.query(`LISTEN channel_${SCHEMA}`)
  await client.query(`NOTIFY channel_${SCHEMA}, 'one'`)
  await client.query('SELECT pg_notify($1, $2)', [`channel_${SCHEMA}`, 'two'])
  await until(() => heard.length === 2)
  say(heard)
  await client.end()
})

part('pool', async () => {
  const pool = new pg.Pool({ max: 4, idleTimeoutMillis: 50, maxUses: 10 })
  pool.on('error', () => {})
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, n) => (await pool.query('SELECT $1::int * 2 AS v', [n])).rows[0].v),
  )
  say(answers)
  await Promise.all(
    Array.from({ length: 10 }, async (_, n) => {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        const { rows } = await client.query({ name: 'in-pool', text: 'SELECT $1::int AS n', values: [n] })
        await client.query('COMMIT')
        if (rows[0].n !== n) throw new Error(`${n} got ${rows[0].n}`)
      } finally {
        client.release()
      }
    }),
  )
  await fails('in the pool', () => pool.query('SELECT 1/0'))
  say((await pool.query("SELECT 'alive' AS v")).rows)
  await pool.end()
})

part('large', async () => {
  const client = await connect()
  for (const size of [9000, 70000, 4000000]) {
    const value = 'ä'.repeat(size)
    say(size, (await client.query('SELECT $1::text AS v', [value])).rows[0].v === value)
  }
  say((await client.query("SELECT n, repeat('z', 100) FROM generate_series(1, 30000) n")).rowCount)
  await client.end()
})

part('ended', async () => {
  const client = await connect()
  await fails('terminated', () => client.query('SELECT pg_terminate_backend(pg_backend_pid())'))
  await client.end()
})

part('encrypted', async () => {
  if (!CA) return
  const client = await connect({ host: 'localhost', ssl: { ca: CA } })
  say(client.connection.stream.encrypted, (await client.query("SELECT length(repeat('t', 1000000)) AS n")).rows)
  await client.end()
})

await main()
