"""Scenarios of mysql_tds.md A5 that no script compares: why, and the test that shows each; and what fails as yet."""

from __future__ import annotations

OURS = "a direct connection has no such thing"
SIZE = "it takes too long for a script that runs in many ways"

FAULT = "no script makes it: a server is disturbed, or what is told comes when it likes"
_SCENARIOS = "tests/live/mysql/test_scenarios.py"

ELSEWHERE: dict[int, tuple[str, str, str]] = {
    25: (FAULT, _SCENARIOS, "test_a_backend_that_dies_in_a_transaction_is_not_replaced"),
    29: (FAULT, _SCENARIOS, "test_a_default_that_changes_under_the_pool"),
    44: (OURS, _SCENARIOS, "test_a_client_that_would_remember_definitions_is_sent_them"),
    45: (FAULT, _SCENARIOS, "test_reports_of_progress_end_no_answer"),
    49: (SIZE, _SCENARIOS, "test_a_slow_reader_of_a_large_result_costs_no_memory"),
    38: (SIZE, "tests/live/mysql/test_proxied.py", "test_large_results_and_texts"),
    39: (OURS, "tests/live/mysql/test_kill.py", "test_one_that_is_over_harms_nobody"),
    43: (
        "every script runs in both forms",
        "tests/compare/mysql/test_comparison.py",
        "test_the_proxy_answers_as_the_server_does",
    ),
}

NOT_YET: dict[int, str] = {}
"""Scenarios without a test, and what is missing."""

KNOWN: dict[str, str] = {}
"""Scripts that are known to fail, on all servers, and why."""

KNOWN_OF_MYSQL: dict[str, str] = {}
"""The same at MySQL, or only with one form of results."""
