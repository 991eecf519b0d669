"""A model of SQL Server, for tests: so far, where its transactions stand and what it says of that."""
