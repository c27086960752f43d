import java.io.StringReader;
import java.sql.*;

/** pgjdbc through Primacy: prepared statements, transactions, batches, fetch size, COPY, read-only connections; or connect, query, release alone. */
public class Jdbc {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0], arguments[1], arguments[2])) {
            if (arguments[3].equals("release")) {
                release(connection);
            } else {
                whole(connection);
            }
        }
        System.out.print("ok");
        System.out.flush();
        System.in.read();
    }

    static void release(Connection connection) throws SQLException {
        for (int n = 0; n < 10; n++) {
            try (PreparedStatement statement = connection.prepareStatement("SELECT ?::int")) {
                statement.setInt(1, n);
                check(one(statement) == n);
            }
        }
        check(connection.isValid(5));
    }

    static void whole(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE jdbc (id int PRIMARY KEY, v text)");
        }
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO jdbc VALUES (?, ?)")) {
            for (int n = 0; n < 20; n++) {
                insert.setInt(1, n);
                insert.setString(2, "v" + n);
                insert.executeUpdate();
            }
            for (int n = 100; n < 600; n++) {
                insert.setInt(1, n);
                insert.setString(2, "batch");
                insert.addBatch();
            }
            insert.executeBatch();
        }
        try (PreparedStatement read = connection.prepareStatement("SELECT id FROM jdbc WHERE id = ?")) {
            for (int n = 0; n < 20; n++) {
                read.setInt(1, n);
                check(one(read) == n);
            }
        }
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("INSERT INTO jdbc VALUES (1000, 'x')");
            connection.commit();
            statement.executeUpdate("INSERT INTO jdbc VALUES (1001, 'x')");
            connection.rollback();
            statement.setFetchSize(7);
            int rows = 0;
            try (ResultSet result = statement.executeQuery("SELECT id FROM jdbc ORDER BY id")) {
                while (result.next()) {
                    rows++;
                }
            }
            check(rows == 521);
            connection.commit();
        }
        connection.setReadOnly(true);
        try (PreparedStatement read = connection.prepareStatement("SELECT count(*) FROM jdbc")) {
            check(one(read) == 521);
        }
        connection.commit();
        connection.setReadOnly(false);
        connection.setAutoCommit(true);
        var copy = connection.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
        check(copy.copyIn("COPY jdbc FROM STDIN", new StringReader("5000\ta\n5001\tb\n")) == 2);
        try (PreparedStatement read = connection.prepareStatement("SELECT count(*) FROM jdbc")) {
            check(one(read) == 523);
        }
        try (PreparedStatement read = connection.prepareStatement("SELECT * FROM jdbc WHERE id = 1");
                Statement statement = connection.createStatement()) {
            for (int n = 0; n < 20; n++) {
                if (n % 8 == 7) {
                    statement.execute("ALTER TABLE jdbc ADD COLUMN more" + n + " int DEFAULT 7");
                }
                try (ResultSet result = read.executeQuery()) {
                    check(result.next() && result.getMetaData().getColumnCount() == 2 + (n + 1) / 8);
                }
            }
            statement.execute("PREPARE by_sql (int) AS SELECT id FROM jdbc WHERE id = $1");
            try (PreparedStatement run = connection.prepareStatement("EXECUTE by_sql(3)")) {
                check(one(run) == 3);
            }
            statement.execute("DEALLOCATE by_sql");
        }
    }

    static int one(PreparedStatement statement) throws SQLException {
        try (ResultSet result = statement.executeQuery()) {
            check(result.next());
            return result.getInt(1);
        }
    }

    static void check(boolean holds) {
        if (!holds) {
            throw new AssertionError();
        }
    }
}
