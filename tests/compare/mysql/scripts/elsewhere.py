"""Scenarios of mysql_tds.md A5 that no script compares: why, and the test that shows each; and what fails as yet."""

from __future__ import annotations

OURS = "a direct connection has no such thing"
SIZE = "it takes too long for a script that runs in many ways"

ELSEWHERE: dict[int, tuple[str, str, str]] = {
    38: (SIZE, "tests/live/mysql/test_proxied.py", "test_large_results_and_texts"),
    39: (OURS, "tests/live/mysql/test_kill.py", "test_one_that_is_over_harms_nobody"),
    43: (
        "every script runs in both forms",
        "tests/compare/mysql/test_comparison.py",
        "test_the_proxy_answers_as_the_server_does",
    ),
}

NOT_YET: dict[int, str] = {
    25: "no test ends a backend in the middle of a transaction",
    29: "no test changes a global default under the pool; backends live for backend_lifetime",
    44: "no test offers MariaDB's cached metadata through the proxy",
    45: "no test sees a report of progress through the proxy",
    49: "no test has a slow reader of a large result",
}
"""Scenarios without a test, and what is missing."""

KNOWN: dict[str, str] = {
    "character sets": "the collation that character_set_results goes with is not restored",
    "trackers that a driver asks for itself": "settings of trackers are seen to be the proxy's",
}
"""Scripts that are known to fail, on all servers, and why."""

KNOWN_OF_MYSQL: dict[str, str] = {
    "several statements in a text, or not, pool of 1": "its answer to COM_SET_OPTION counts the warnings of the statement before",
}
"""The same at MySQL, or only with one form of results."""
