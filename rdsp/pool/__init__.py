"""Database connections: who has which, who waits, how they are opened and closed."""
