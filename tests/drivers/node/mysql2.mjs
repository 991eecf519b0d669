// mysql2: text and binary protocol, streams, its Pool, transactions, LOAD DATA LOCAL, changeUser, TLS.
import process from 'node:process'
import { Readable } from 'node:stream'
import mysql from 'mysql2/promise'
import callbacks from 'mysql2'
import { CA, SCHEMA, crowd, main, part, say } from './transcript.mjs'

const settings = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
}
const open = (more = {}) => mysql.createConnection({ ...settings, ...more })

async function fails(what, make) {
  try {
    say(what, 'did not fail', await make())
  } catch (error) {
    say(what, error.message, { code: error.code, errno: error.errno, sqlState: error.sqlState, fatal: error.fatal })
  }
}

const TABLE = `CREATE TABLE ${SCHEMA}.kinds (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, big BIGINT UNSIGNED,
  price DECIMAL(20, 6), real_ DOUBLE, made DATETIME(6), day DATE, spent TIME(3), born YEAR, text_ VARCHAR(200),
  data LONGBLOB, bits BIT(12), facts JSON, kind ENUM('a', 'b'), tiny TINYINT)`
const VALUES = ['18446744073709551615', '12345678901234.567890', 0.1, '2026-02-03 04:05:06.789012', '1999-12-31', '-100:00:00.005',
  1999, "Grüße, 世界 🐬 ' \\", Buffer.from([0, 1, 255, 39]), 7, '{"a": [1, null, "ä"]}', 'b', -128]

part('opening', async () => {
  for (const more of [{}, { charset: 'latin1' }, { charset: 'utf8mb4_bin' }, { timezone: 'Z' }, { database: undefined },
    { multipleStatements: true }, { flags: ['-FOUND_ROWS'] }, { enableKeepAlive: false }]) {
    const db = await open(more)
    say(more, (await db.query('SELECT @@autocommit, @@sql_mode, @@time_zone, @@collation_connection, DATABASE()'))[0])
    await db.ping()
    await db.end()
  }
})

part('values', async () => {
  const db = await open({ supportBigNumbers: true, dateStrings: true })
  await db.query(TABLE)
  const names = 'big, price, real_, made, day, spent, born, text_, data, bits, facts, kind, tiny'
  const marks = VALUES.map(() => '?').join(', ')
  for (const run of ['query', 'execute']) {
    const [made] = await db[run](`INSERT INTO ${SCHEMA}.kinds (${names}) VALUES (${marks})`, VALUES)
    say(run, made)
    say(run, (await db[run](`INSERT INTO ${SCHEMA}.kinds (${names}) VALUES (${marks})`, VALUES.map(() => null)))[0].insertId)
    const [rows, fields] = await db[run](`SELECT * FROM ${SCHEMA}.kinds WHERE id > ? ORDER BY id`, [0])
    say(rows, fields.map(({ name, columnType, columnLength, flags, decimals }) => [name, columnType, columnLength, flags, decimals]))
  }
  say((await db.query({ sql: 'SELECT 1 AS a, 2 AS a', rowsAsArray: true }))[0])
  say((await db.query('SELECT ? AS a, ? AS b, ?? FROM (SELECT 5 AS c) d', [null, "it's", 'c']))[0])
  await db.query(`DROP TABLE ${SCHEMA}.kinds`)
  await db.end()
})

part('statements', async () => {
  const db = await open()
  const other = await open({ maxPreparedStatements: 5 })
  for (let n = 0; n < 30; n++) {
    say((await db.execute('SELECT ? + 1 AS v, ? AS w', [n, 'ä'.repeat(n)]))[0])
    say((await other.execute(`SELECT ${n} + ? AS v`, [n]))[0])
    say((await db.execute('SELECT ? AS v', [`text ${n}`]))[0])
  }
  const statement = await db.prepare('SELECT ? AS v')
  say((await statement.execute(['one']))[0], (await statement.execute(['two']))[0], (await statement.execute([null]))[0])
  await statement.close()
  db.unprepare('SELECT ? AS v')
  say((await db.execute('SELECT ? AS v', ['again']))[0])
  await fails('nowhere', () => db.execute('SELECT * FROM nowhere WHERE a = ?', [1]))
  await fails('parameters', () => db.execute('SELECT ?', [1, 2]))
  await db.execute(`CREATE TABLE ${SCHEMA}.changing (a INT)`)
  await db.execute(`INSERT INTO ${SCHEMA}.changing VALUES (?)`, [1])
  say((await db.execute(`SELECT * FROM ${SCHEMA}.changing`))[0])
  await other.query(`ALTER TABLE ${SCHEMA}.changing ADD b INT DEFAULT 7`)
  say((await db.execute(`SELECT * FROM ${SCHEMA}.changing`))[0])
  await other.query(`DROP TABLE ${SCHEMA}.changing`)
  await fails('gone', () => db.execute(`SELECT * FROM ${SCHEMA}.changing`))
  await db.end()
  await other.end()
})

part('transactions', async () => {
  const db = await open()
  await db.query(`CREATE TABLE ${SCHEMA}.tx (a INT PRIMARY KEY) ENGINE=InnoDB`)
  await db.beginTransaction()
  await db.execute(`INSERT INTO ${SCHEMA}.tx VALUES (?)`, [1])
  await db.query('SAVEPOINT one')
  await fails('twice', () => db.execute(`INSERT INTO ${SCHEMA}.tx VALUES (?)`, [1]))
  await db.query('ROLLBACK TO SAVEPOINT one')
  await db.commit()
  await db.beginTransaction()
  await db.query(`INSERT INTO ${SCHEMA}.tx VALUES (2)`)
  await db.rollback()
  say((await db.query(`SELECT a FROM ${SCHEMA}.tx`))[0])
  await db.query('SET autocommit = 0')
  await db.query(`INSERT INTO ${SCHEMA}.tx VALUES (3)`)
  await db.query('COMMIT')
  await db.query('SET autocommit = 1')
  say((await db.query(`SELECT a FROM ${SCHEMA}.tx`))[0])
  await db.query(`DROP TABLE ${SCHEMA}.tx`)
  await db.end()
})

part('several_statements', async () => {
  const db = await open({ multipleStatements: true })
  const [results] = await db.query("SELECT 1 AS a; SELECT 2 AS b, 'x' AS c; BEGIN; SELECT 3; COMMIT")
  // Without what the session's trackers say of it: the proxy has those that it asks for itself.
  say(results.map((one) => (Array.isArray(one) ? one : [one.affectedRows, one.insertId, one.serverStatus & ~0x4000])))
  await fails('in the middle', () => db.query('SELECT 1; SELECT * FROM nowhere; SELECT 2'))
  say((await db.query("SELECT 'alive' AS v"))[0])
  await db.end()
  const single = await open()
  await fails('not allowed', () => single.query('SELECT 1; SELECT 2'))
  // Sent before the answers are there.
  say((await Promise.all([1, 2, 3].map((n) => single.query('SELECT ? AS v', [n])))).map(([rows]) => rows))
  await single.end()
})

part('streams', async () => {
  const db = callbacks.createConnection(settings)
  const count = (text) =>
    new Promise((resolve, reject) => {
      let rows = 0
      db.query(text).stream({ highWaterMark: 5 }).on('data', () => rows++).on('end', () => resolve(rows)).on('error', reject)
    })
  const ten = "(SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7)"
  say(await count(`SELECT REPEAT('x', 100) FROM ${'abcde'.split('').map((name) => `${ten} ${name}`).join(', ')}`))
  say((await db.promise().query("SELECT LENGTH(REPEAT('x', 100)) AS v"))[0])
  const [rows] = await db.promise().query("SELECT REPEAT('ä', 2000000) AS v")
  say(rows[0].v.length)
  await db.promise().end()
})

part('pools', async () => {
  const pool = mysql.createPool({ ...settings, connectionLimit: 4 })
  await pool.query(`CREATE TABLE ${SCHEMA}.pooled (id INT AUTO_INCREMENT PRIMARY KEY, n INT)`)
  const work = async (n) => {
    const db = await pool.getConnection()
    await db.beginTransaction()
    const [made] = await db.execute(`INSERT INTO ${SCHEMA}.pooled (n) VALUES (?)`, [n])
    const [[found]] = await db.execute(`SELECT n FROM ${SCHEMA}.pooled WHERE id = ?`, [made.insertId])
    await (n % 5 ? db.commit() : db.rollback())
    db.release()
    return found.n
  }
  say(await Promise.all(Array.from({ length: 40 }, (_, n) => work(n))))
  say((await pool.query(`SELECT COUNT(*) AS c, SUM(n) AS s FROM ${SCHEMA}.pooled`))[0])
  say((await Promise.all(Array.from({ length: 100 }, (_, n) => pool.execute('SELECT ? AS v', [n])))).every(([[row]], n) => Number(row.v) === n))
  await pool.query(`DROP TABLE ${SCHEMA}.pooled`)
  await pool.end()
})

part('files', async () => {
  const db = await open()
  await db.query(`CREATE TABLE ${SCHEMA}.filed (a INT, b VARCHAR(20))`)
  const [made] = await db.query({
    sql: `LOAD DATA LOCAL INFILE 'made up' INTO TABLE ${SCHEMA}.filed`,
    infileStreamFactory: () => Readable.from(Array.from({ length: 5000 }, (_, n) => Buffer.from(`${n}\ttext ${n}\n`))),
  })
  say(made.affectedRows, (await db.query(`SELECT COUNT(*) AS c, SUM(a) AS s FROM ${SCHEMA}.filed`))[0])
  await db.query(`DROP TABLE ${SCHEMA}.filed`)
  await db.end()
})

part('errors', async () => {
  const db = await open()
  for (const text of ['SELEC 1', 'SELECT nix', 'SELECT * FROM nowhere', "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'mine'"]) {
    await fails(text, () => db.query(text))
    say((await db.query("SELECT 'alive' AS v"))[0])
  }
  await db.end()
  for (const more of [{ password: 'wrong' }, { database: 'nowhere' }]) {
    try {
      await open(more)
    } catch (error) {
      say(more, error.code, error.errno)
    }
  }
})

part('compressed', async () => {
  const db = await open({ compress: true })
  for (const size of [1, 5000, 16300, 33000, 70000, 200000, 1000000, 16700000]) {
    const [[{ data }]] = await db.query(`SELECT REPEAT('x', ${size}) AS data`)
    say(size, data.length, data === 'x'.repeat(size))
  }
  const noise = Buffer.alloc(3000000)
  for (let at = 0, n = 1; at < noise.length; at++) { n = (n * 48271) % 2147483647; noise[at] = n >> 8 }
  const [[{ again }]] = await db.execute('SELECT CAST(? AS BINARY) AS again', [noise])
  say(again.equals(noise))
  await db.query(`CREATE TABLE ${SCHEMA}.squeezed (n INT, t VARCHAR(100))`)
  const lines = Array.from({ length: 20000 }, (_, n) => Buffer.from(`${n}\ttext ${n}\n`))
  const [loaded] = await db.query({ sql: `LOAD DATA LOCAL INFILE 'rows' INTO TABLE ${SCHEMA}.squeezed`,
    infileStreamFactory: () => Readable.from(lines) })
  const [rows] = await db.query(`SELECT n, t FROM ${SCHEMA}.squeezed ORDER BY n`)
  say(loaded.affectedRows, rows.length, rows[0], rows[19999])
  await fails('nowhere', () => db.query('SELECT * FROM nowhere'))
  say((await db.query('SELECT 1 AS alive'))[0])
  await db.query(`DROP TABLE ${SCHEMA}.squeezed`)
  await db.end()
})

part('encrypted', async () => {
  const db = await open({ host: 'localhost', ssl: { ca: CA } })
  say((await db.query("SELECT LENGTH(REPEAT('t', 1000000)) AS v"))[0])
  await db.end()
})

crowd('another_user', async () => {
  const db = await open()
  await db.query("SET @mine = 1, time_zone = '+01:00'")
  await db.changeUser({ database: SCHEMA })
  say((await db.query('SELECT @mine, @@time_zone, DATABASE()'))[0])
  await db.end()
})

crowd('procedures', async () => {
  const db = await open()
  await db.query(`CREATE PROCEDURE ${SCHEMA}.several (IN a INT, OUT b INT) BEGIN SELECT a; SELECT a + 1; SET b = a * 2; END`)
  say((await db.query(`CALL ${SCHEMA}.several(5, @b)`))[0], (await db.query('SELECT @b'))[0])
  say((await db.execute(`CALL ${SCHEMA}.several(?, @b)`, [6]))[0])
  await db.query(`DROP PROCEDURE ${SCHEMA}.several`)
  await db.end()
})

// Where it never queues.
crowd('ended_by_others', async () => {
  const sleeping = await open()
  const killing = await open()
  sleeping.on('error', () => {})
  const asked = sleeping.query('SELECT SLEEP(20) AS v').then(() => 'not killed', () => 'killed')
  await new Promise((resolve) => setTimeout(resolve, 400))
  await killing.query(`KILL ${sleeping.threadId}`)
  say(await asked)
  say((await killing.query("SELECT 'alive' AS v"))[0])
  await killing.end()
})

await main()
