"""The programs of the driver matrix, one a driver; each writes what it sees as a transcript."""
