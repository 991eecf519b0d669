"""The wire of MySQL and MariaDB: the client/server protocol, version 10 of its handshake. Not an engine yet."""
