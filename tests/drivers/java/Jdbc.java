// pgjdbc: types, server-prepared statements, batches, fetch sizes, COPY, savepoints, cancels, notifications, large objects.
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class Jdbc {
    static final String SCHEMA = System.getenv("MATRIX_SCHEMA");
    static final String CA = System.getenv().getOrDefault("MATRIX_CA", "");

    interface Work { void run() throws Exception; }

    static void say(Object... values) {
        StringBuilder line = new StringBuilder();
        for (Object value : values) line.append(line.length() == 0 ? "" : " ").append(value);
        String text = line.toString().replace(SCHEMA, "SCHEMA").replace("\n", "\\n");
        System.out.println(text.length() > 2000 ? text.substring(0, 2000) + "... " + text.length() : text);
    }

    static void fails(String what, Work work) throws Exception {
        try {
            work.run();
            say(what, "did not fail");
        } catch (SQLException error) {
            ServerErrorMessage told = error instanceof PSQLException ? ((PSQLException) error).getServerErrorMessage() : null;
            say(what, error.getSQLState(), error.getMessage());
            if (told != null) say(what, told.getDetail(), told.getHint(), told.getPosition(), told.getConstraint());
        }
    }

    static Connection connect(String... more) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        String host = "127.0.0.1", database = System.getenv("PGDATABASE");
        for (int at = 0; at < more.length; at += 2) {
            if (more[at].equals("host")) host = more[at + 1];
            else if (more[at].equals("database")) database = more[at + 1];
            else properties.setProperty(more[at], more[at + 1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://" + host + ":" + System.getenv("PGPORT") + "/" + database, properties);
    }

    static List<List<Object>> rows(ResultSet result) throws SQLException {
        List<List<Object>> rows = new ArrayList<>();
        while (result.next()) {
            List<Object> row = new ArrayList<>();
            for (int column = 1; column <= result.getMetaData().getColumnCount(); column++) {
                Object value = result.getObject(column);
                row.add(value instanceof byte[] ? Arrays.toString((byte[]) value) : value instanceof Array ? value.toString() : value);
            }
            rows.add(row);
        }
        return rows;
    }

    static List<List<Object>> ask(Connection client, String text) throws SQLException {
        try (Statement statement = client.createStatement(); ResultSet result = statement.executeQuery(text)) {
            return rows(result);
        }
    }

    static void run(Connection client, String text) throws SQLException {
        try (Statement statement = client.createStatement()) { statement.execute(text); }
    }

    static void types(String mode) throws Exception {
        try (Connection client = connect("prepareThreshold", mode.equals("binary") ? "-1" : "5")) {
            try (PreparedStatement statement = client.prepareStatement(
                    "SELECT ?::int, ?::bigint, ?::numeric, ?::text, ?::bytea, ?::bool, ?::float8, ?::uuid, ?::date, ?::timestamptz, ?::int[]")) {
                for (int turn = 0; turn < 8; turn++) {
                    statement.setInt(1, turn);
                    statement.setLong(2, 1L << 40);
                    statement.setBigDecimal(3, new BigDecimal("1.500"));
                    statement.setString(4, "ä€😀'" + turn);
                    statement.setBytes(5, new byte[] {0, -1});
                    statement.setBoolean(6, true);
                    statement.setDouble(7, 1.25);
                    statement.setObject(8, new UUID(0, 7));
                    statement.setObject(9, LocalDate.of(2020, 2, 29));
                    statement.setObject(10, OffsetDateTime.of(2020, 1, 1, 0, 0, 0, 0, ZoneOffset.UTC));
                    if (turn % 2 == 0) statement.setArray(11, client.createArrayOf("int4", new Integer[] {1, null, 3}));
                    else statement.setNull(11, Types.ARRAY);
                    say(mode, rows(statement.executeQuery()));
                }
            }
        }
    }

    static void modes() throws Exception {
        for (String mode : new String[] {"simple", "extendedForPrepared", "extendedCacheEverything"})
            try (Connection client = connect("preferQueryMode", mode, "prepareThreshold", "2");
                    PreparedStatement statement = client.prepareStatement("SELECT ?::int + ?, ?::text")) {
                for (int turn = 0; turn < 5; turn++) {
                    statement.setInt(1, turn);
                    statement.setInt(2, 10);
                    statement.setString(3, "it's");
                    say(mode, rows(statement.executeQuery()), ask(client, "SELECT 'plain'"));
                }
                fails("in " + mode, () -> run(client, "SELECT 1/0"));
            }
    }

    static void prepared() throws Exception {
        Connection[] clients = {connect("prepareThreshold", "1"), connect("prepareThreshold", "3"), connect("preparedStatementCacheQueries", "2", "prepareThreshold", "1")};
        run(clients[0], "CREATE TABLE " + SCHEMA + ".ddl (a int)");
        run(clients[0], "INSERT INTO " + SCHEMA + ".ddl VALUES (1)");
        for (int turn = 0; turn < 6; turn++)
            for (int number = 0; number < clients.length; number++)
                for (int more = 0; more < 4; more++)
                    try (PreparedStatement statement = clients[number].prepareStatement("SELECT ?::int + " + (number * 10 + more))) {
                        statement.setInt(1, turn);
                        say(turn, number, rows(statement.executeQuery()));
                    }
        String all = "SELECT * FROM " + SCHEMA + ".ddl WHERE a = ?";
        PreparedStatement[] reading = new PreparedStatement[clients.length];
        for (int number = 0; number < clients.length; number++) {
            reading[number] = clients[number].prepareStatement(all);
            reading[number].setInt(1, 1);
            for (int turn = 0; turn < 5; turn++) say(number, rows(reading[number].executeQuery()));
        }
        run(clients[1], "ALTER TABLE " + SCHEMA + ".ddl ADD b int");
        for (PreparedStatement statement : reading)
            for (int turn = 0; turn < 2; turn++)
                fails("after DDL", () -> say(rows(statement.executeQuery())));
        run(clients[1], "DROP TABLE " + SCHEMA + ".ddl");
        for (PreparedStatement statement : reading) fails("dropped", () -> say(rows(statement.executeQuery())));
        for (Connection client : clients) client.close();
    }

    static void transactions() throws Exception {
        try (Connection client = connect(); Connection other = connect("autosave", "always")) {
            run(other, "CREATE TABLE " + SCHEMA + ".tx (a int PRIMARY KEY)");
            client.setAutoCommit(false);
            client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            run(client, "INSERT INTO " + SCHEMA + ".tx VALUES (1)");
            Savepoint savepoint = client.setSavepoint("s");
            fails("twice", () -> run(client, "INSERT INTO " + SCHEMA + ".tx VALUES (1)"));
            fails("aborted", () -> run(client, "SELECT 1"));
            client.rollback(savepoint);
            client.commit();
            other.setAutoCommit(false);
            run(other, "INSERT INTO " + SCHEMA + ".tx VALUES (2)");
            fails("saved by itself", () -> run(other, "INSERT INTO " + SCHEMA + ".tx VALUES (2)"));
            run(other, "INSERT INTO " + SCHEMA + ".tx VALUES (3)");
            other.commit();
            say(ask(other, "SELECT a FROM " + SCHEMA + ".tx ORDER BY a"));
            other.commit();
            client.setReadOnly(true);
            fails("read only", () -> run(client, "INSERT INTO " + SCHEMA + ".tx VALUES (9)"));
            client.rollback();
            client.setReadOnly(false);
            other.setAutoCommit(true);
            run(other, "DROP TABLE " + SCHEMA + ".tx");
        }
    }

    static void batches(String rewrite) throws Exception {
        try (Connection client = connect("reWriteBatchedInserts", rewrite)) {
            run(client, "CREATE TABLE " + SCHEMA + ".batch (a int PRIMARY KEY, b text)");
            try (PreparedStatement statement = client.prepareStatement("INSERT INTO " + SCHEMA + ".batch VALUES (?, ?)")) {
                for (int number = 0; number < 1000; number++) {
                    statement.setInt(1, number);
                    statement.setString(2, "v" + number);
                    statement.addBatch();
                }
                say(statement.executeBatch().length);
                for (int number : new int[] {2000, 5, 2001}) {
                    statement.setInt(1, number);
                    statement.setString(2, "again");
                    statement.addBatch();
                }
                try { statement.executeBatch(); } catch (BatchUpdateException error) {
                    say(error.getSQLState(), Arrays.toString(error.getUpdateCounts()), error.getNextException().getMessage());
                }
            }
            try (PreparedStatement statement = client.prepareStatement("INSERT INTO " + SCHEMA + ".batch VALUES (?, 'k')", Statement.RETURN_GENERATED_KEYS)) {
                statement.setInt(1, 5000);
                statement.executeUpdate();
                say(rows(statement.getGeneratedKeys()));
            }
            try (Statement statement = client.createStatement()) {
                for (int number = 0; number < 5; number++) statement.addBatch("UPDATE " + SCHEMA + ".batch SET b = 'u' WHERE a < " + number);
                say(Arrays.toString(statement.executeBatch()));
                boolean more = statement.execute("SELECT 1; UPDATE " + SCHEMA + ".batch SET b = 'w' WHERE a < 3; SELECT 2, 3");
                while (more || statement.getUpdateCount() != -1) {
                    say(more ? rows(statement.getResultSet()) : statement.getUpdateCount());
                    more = statement.getMoreResults();
                }
            }
            say(ask(client, "SELECT count(*), max(a) FROM " + SCHEMA + ".batch"));
            run(client, "DROP TABLE " + SCHEMA + ".batch");
        }
    }

    static void fetching() throws Exception {
        try (Connection client = connect()) {
            client.setAutoCommit(false);
            try (Statement one = client.createStatement(); PreparedStatement two = client.prepareStatement("SELECT n FROM generate_series(1, ?) n")) {
                one.setFetchSize(7);
                two.setFetchSize(10);
                two.setInt(1, 100);
                ResultSet first = one.executeQuery("SELECT n FROM generate_series(1, 50) n"), second = two.executeQuery();
                long sum = 0;
                while (first.next() && second.next()) sum += first.getInt(1) * 1000L + second.getInt(1);
                say(sum);
                first.close();
                ResultSet broken = one.executeQuery("SELECT 10 / (30 - n) FROM generate_series(1, 50) n");
                fails("in the middle", () -> { while (broken.next()) broken.getInt(1); });
            }
            client.rollback();
            try (CallableStatement call = client.prepareCall("{? = call upper(?)}")) {
                call.registerOutParameter(1, Types.VARCHAR);
                call.setString(2, "called");
                call.execute();
                say(call.getString(1));
            }
            client.commit();
        }
    }

    static void copies() throws Exception {
        try (Connection client = connect()) {
            run(client, "CREATE TABLE " + SCHEMA + ".copied (a int, b text)");
            CopyManager copies = client.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder text = new StringBuilder();
            for (int number = 0; number < 5000; number++) text.append(number).append("\tx\n");
            say(copies.copyIn("COPY " + SCHEMA + ".copied FROM STDIN", new StringReader(text.toString())));
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            say(copies.copyOut("COPY (SELECT * FROM " + SCHEMA + ".copied ORDER BY a) TO STDOUT (FORMAT BINARY)", out), out.size());
            fails("bad", () -> copies.copyIn("COPY " + SCHEMA + ".copied FROM STDIN", new ByteArrayInputStream("x\ty\n".repeat(9000).getBytes(StandardCharsets.UTF_8))));
            say(ask(client, "SELECT count(*) FROM " + SCHEMA + ".copied"));
            run(client, "DROP TABLE " + SCHEMA + ".copied");
        }
    }

    static void errorsAndCancels() throws Exception {
        try (Connection client = connect()) {
            for (String text : new String[] {"SELEC 1", "SELECT nix", "SELECT 1/0", "SELECT * FROM nowhere", "SELECT 1; SELECT 2/0", "COMMIT; SELECT 1/0"}) {
                fails(text, () -> run(client, text));
                say(ask(client, "SELECT 'alive'"));
            }
            try (Statement statement = client.createStatement()) {
                // Again and again: a request that overtakes its query does nothing.
                java.util.concurrent.atomic.AtomicBoolean over = new java.util.concurrent.atomic.AtomicBoolean();
                Thread canceller = new Thread(() -> {
                    try { while (!over.get()) { Thread.sleep(600); statement.cancel(); } } catch (Exception error) { say(error); }
                });
                canceller.start();
                fails("cancelled", () -> statement.execute("SELECT pg_sleep(300)"));
                over.set(true);
                canceller.join();
                statement.setQueryTimeout(1);
                fails("timeout", () -> statement.execute("SELECT pg_sleep(30)"));
                statement.setQueryTimeout(0);
                statement.execute("DO $$ BEGIN RAISE NOTICE 'noted'; RAISE WARNING 'warned'; END $$");
                for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning())
                    say(warning.getSQLState(), warning.getMessage());
            }
            say(client.isValid(60));
        }
        fails("password", () -> connect("password", "wrong"));
        fails("database", () -> connect("database", "nowhere"));
    }

    static void settings() throws Exception {
        try (Connection client = connect("ApplicationName", "by jdbc", "options", "-c work_mem=2MB", "currentSchema", SCHEMA)) {
            say(ask(client, "SELECT current_setting('application_name'), current_setting('work_mem'), current_schema()"));
            DatabaseMetaData about = client.getMetaData();
            run(client, "CREATE TABLE about (a int PRIMARY KEY, b varchar(7) NOT NULL DEFAULT 'x')");
            ResultSet columns = about.getColumns(null, SCHEMA, "about", null);
            while (columns.next()) say(columns.getString("COLUMN_NAME"), columns.getString("TYPE_NAME"), columns.getInt("COLUMN_SIZE"));
            ResultSet keys = about.getPrimaryKeys(null, SCHEMA, "about");
            while (keys.next()) say(keys.getString("COLUMN_NAME"), keys.getString("PK_NAME"));
            run(client, "DROP TABLE about");
            say(client.getClientInfo("ApplicationName"));
            client.setClientInfo("ApplicationName", "renamed");
            say(ask(client, "SHOW application_name"));
            client.setSchema("public");
            say(client.getSchema());
        }
    }

    static void notifications() throws Exception {
        try (Connection client = connect()) {
            run(client, "LISTEN channel_" + SCHEMA);
            run(client, "NOTIFY channel_" + SCHEMA + ", 'one'");
            run(client, "NOTIFY channel_" + SCHEMA + ", 'two'");
            PGNotification[] heard = client.unwrap(PGConnection.class).getNotifications(2000);
            for (PGNotification notification : heard) say(notification.getName(), notification.getParameter());
        }
    }

    static void large() throws Exception {
        try (Connection client = connect(); PreparedStatement statement = client.prepareStatement("SELECT ?::text")) {
            for (int size : new int[] {9000, 70000, 3000000}) {
                String value = "ä".repeat(size);
                statement.setString(1, value);
                ResultSet result = statement.executeQuery();
                result.next();
                say(size, result.getString(1).equals(value));
            }
            say(ask(client, "SELECT n, repeat('z', 100) FROM generate_series(1, 30000) n").size());
        }
    }

    static void encrypted() throws Exception {
        if (CA.isEmpty()) return;
        try (Connection client = connect("host", "localhost", "sslmode", "verify-full", "sslrootcert", CA)) {
            say(ask(client, "SELECT length(repeat('t', 1000000))"));
        }
    }

    public static void main(String[] wanted) throws Exception {
        say("## types");
        for (String mode : new String[] {"text", "binary"}) types(mode);
        say("## modes");
        modes();
        say("## prepared");
        prepared();
        say("## transactions");
        transactions();
        say("## batches");
        batches("false");
        batches("true");
        say("## fetching");
        fetching();
        say("## copies");
        copies();
        say("## errors and cancels");
        errorsAndCancels();
        say("## settings");
        settings();
        say("## notifications");
        notifications();
        say("## large");
        large();
        say("## encrypted");
        encrypted();
        say("## end");
    }
}
