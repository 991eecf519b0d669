"""PostgreSQL: the scenarios of the poolers' faults."""
