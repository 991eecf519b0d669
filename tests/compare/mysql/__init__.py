"""MySQL and MariaDB: the scenarios of other proxies' faults."""
