// tedious: batches and calls, transactions, prepared requests, bulk loads, cancelling, resets, TLS.
import assert from 'node:assert/strict'
import process from 'node:process'
import { Connection, Request, TYPES } from 'tedious'
import { CA, SCHEMA, main, part, say } from './transcript.mjs'

function open(more = {}) {
  const db = new Connection({
    server: '127.0.0.1',
    authentication: { type: 'default', options: { userName: process.env.PGUSER, password: process.env.PGPASSWORD } },
    options: {
      port: Number(process.env.PGPORT), database: process.env.PGDATABASE, encrypt: false, trustServerCertificate: true,
      ...more,
    },
  })
  return new Promise((done, failed) => db.connect((error) => (error ? failed(error) : done(db))))
}

function ask(db, text, values = [], how = 'execSql') {
  return new Promise((done, failed) => {
    const rows = []
    const request = new Request(text, (error, count) => (error ? failed(error) : done({ rows, count })))
    for (const [name, type, value, more] of values) request.addParameter(name, type, value, more)
    request.on('row', (columns) => rows.push(columns.map(({ value }) => value)))
    db[how](request)
  })
}
const act = (db, what, ...more) => new Promise((done, failed) => db[what]((error) => (error ? failed(error) : done()), ...more))

function expect(actual, expected) {
  assert.deepEqual(actual, expected)
  say(actual)
}

async function fails(db, number, text, how) {
  await assert.rejects(ask(db, text, [], how), (error) => error.number === number || assert.fail(`${number}: ${error}`))
  say('failed', number)
}

part('values', async () => {
  const db = await open()
  await ask(db, `CREATE TABLE ${SCHEMA}_v (id int IDENTITY PRIMARY KEY, t nvarchar(max), b varbinary(max), f float, at datetime2(3), g uniqueidentifier, flag bit)`)
  const at = new Date(Date.UTC(2026, 1, 3, 4, 5, 6, 789))
  const values = [['t', TYPES.NVarChar, 'Grüße, 世界'], ['b', TYPES.VarBinary, Buffer.from([0, 255])], ['f', TYPES.Float, 0.1],
    ['at', TYPES.DateTime2, at, { scale: 3 }], ['g', TYPES.UniqueIdentifier, '01234567-89AB-CDEF-0123-456789ABCDEF'], ['flag', TYPES.Bit, true]]
  await ask(db, `INSERT INTO ${SCHEMA}_v (t, b, f, at, g, flag) VALUES (@t, @b, @f, @at, @g, @flag)`, values)
  const { rows } = await ask(db, `SELECT * FROM ${SCHEMA}_v`)
  assert.equal(rows[0][4].toISOString(), at.toISOString())
  expect([rows[0][1], [...rows[0][2]], rows[0][3], rows[0][5], rows[0][6]], ['Grüße, 世界', [0, 255], 0.1, '01234567-89AB-CDEF-0123-456789ABCDEF', true])
  expect((await ask(db, 'SELECT @a, LEN(@a)', [['a', TYPES.NVarChar, 'x'.repeat(100000)]])).rows[0][1], 100000)
  db.close()
})

part('transactions', async () => {
  const db = await open()
  await ask(db, `CREATE TABLE ${SCHEMA}_x (x int PRIMARY KEY)`)
  await act(db, 'beginTransaction')
  await ask(db, `INSERT INTO ${SCHEMA}_x VALUES (1)`)
  await act(db, 'rollbackTransaction')
  await act(db, 'beginTransaction', 'name', 0x04)
  await ask(db, `INSERT INTO ${SCHEMA}_x VALUES (2)`)
  await act(db, 'saveTransaction', 'here')
  await ask(db, `INSERT INTO ${SCHEMA}_x VALUES (3)`)
  await act(db, 'rollbackTransaction', 'here')
  expect((await ask(db, 'SELECT @@TRANCOUNT, transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID')).rows, [[1, 4]])
  await act(db, 'commitTransaction')
  expect((await ask(db, `SELECT x, @@TRANCOUNT FROM ${SCHEMA}_x`)).rows, [[2, 0]])
  await ask(db, `BEGIN TRAN INSERT INTO ${SCHEMA}_x VALUES (4)`, [], 'execSqlBatch')
  await ask(db, 'ROLLBACK', [], 'execSqlBatch')
  expect((await ask(db, `SELECT count(*) FROM ${SCHEMA}_x`)).rows, [[1]])
  db.close()
})

part('errors', async () => {
  const db = await open()
  await fails(db, 208, `SELECT * FROM ${SCHEMA}_missing`)
  await fails(db, 8134, 'SELECT 1/0', 'execSqlBatch')
  expect((await ask(db, 'SELECT 1')).rows, [[1]])
  db.close()
  await assert.rejects(new Promise((done, failed) => {
    const wrong = new Connection({ server: '127.0.0.1', authentication: { type: 'default', options: { userName: 'sa', password: 'wrong' } },
      options: { port: Number(process.env.PGPORT), encrypt: false, trustServerCertificate: true } })
    wrong.connect((error) => (error ? failed(error) : done()))
  }), { code: 'ELOGIN' })
})

part('prepared', async () => {
  const db = await open()
  for (let turn = 0; turn < 2; turn++) {
    const found = []
    await new Promise((done, failed) => {
      const request = new Request('SELECT @a + 1', (error) => error && failed(error))
      request.addParameter('a', TYPES.Int)
      request.on('row', ([{ value }]) => found.push(value))
      request.on('prepared', () => {
        request.callback = (error) => {
          if (error) return failed(error)
          request.callback = (last) => (last ? failed(last) : done())
          db.unprepare(request)
        }
        db.execute(request, { a: 41 + turn })
      })
      db.prepare(request)
    })
    expect(found, [42 + turn])
  }
  db.close()
})

part('bulk', async () => {
  const db = await open()
  await ask(db, `CREATE TABLE ${SCHEMA}_b (a int, t nvarchar(50))`)
  const count = await new Promise((done, failed) => {
    const load = db.newBulkLoad(`${SCHEMA}_b`, (error, rows) => (error ? failed(error) : done(rows)))
    load.addColumn('a', TYPES.Int, { nullable: true })
    load.addColumn('t', TYPES.NVarChar, { length: 50, nullable: true })
    db.execBulkLoad(load, Array.from({ length: 1000 }, (_, n) => [n, `row ${n}`]))
  })
  expect([count, (await ask(db, `SELECT count(*), max(a) FROM ${SCHEMA}_b`)).rows], [1000, [[1000, 999]]])
  db.close()
})

part('cancelling', async () => {
  const db = await open()
  for (const text of ["WAITFOR DELAY '00:01:00'", "SELECT value, REPLICATE('x', 1000) FROM GENERATE_SERIES(1, 10000000)"]) {
    await assert.rejects(new Promise((done, failed) => {
      const request = new Request(text, (error) => (error ? failed(error) : done()))
      db.execSqlBatch(request)
      setTimeout(() => db.cancel(), 200)
    }), { code: 'ECANCEL' })
    expect((await ask(db, 'SELECT 1')).rows, [[1]])
  }
  db.close()
})

part('resets', async () => {
  const db = await open()
  await ask(db, 'CREATE TABLE #t (x int) SET DATEFIRST 1', [], 'execSqlBatch')
  await act(db, 'reset')
  expect((await ask(db, "SELECT @@DATEFIRST, OBJECT_ID('tempdb..#t')")).rows, [[7, null]])
  await fails(db, 208, 'SELECT * FROM #t')
  db.close()
})

part('encrypted', async () => {
  const db = await open({ encrypt: true, cryptoCredentialsDetails: CA ? { ca: CA } : {} })
  expect((await ask(db, "SELECT LEN(REPLICATE('x', 20000))")).rows, [[20000]])
  db.close()
})

part('strict', async () => {
  const db = await open({ encrypt: 'strict', trustServerCertificate: false, serverName: 'localhost', cryptoCredentialsDetails: { ca: CA } })
  expect((await ask(db, 'SELECT 1')).rows, [[1]])
  db.close()
})

main()
