"""Scenarios of pg_poolers.md 2.2 that no script can compare, why, and the test that shows each."""

from __future__ import annotations

CLOCK = "what counts is when it happens, not what is said"
OURS = "a direct connection has no such thing"
LOGIN = "it is over before a script begins"

ELSEWHERE: dict[int, tuple[str, str, str]] = {
    30: (OURS, "tests/live/test_following.py", "test_currval_is_never_a_strangers"),
    52: (OURS, "tests/codecs/postgres/test_relay_properties.py", "test_two_clients_on_two_backends_see_what_they_see_directly"),
    79: (OURS, "tests/live/test_faults.py", "test_idle_backends_that_are_terminated_are_replaced_unseen"),
    80: (OURS, "tests/live/test_backends.py", "test_exactly_who_used_a_backend_hears_of_its_death"),
    82: (CLOCK, "tests/live/test_versions.py", "test_a_part_of_a_long_key_cancels_nothing"),
    83: (CLOCK, "tests/live/test_psycopg.py", "test_a_cancel_that_comes_too_late_hits_nobody"),
    84: (OURS, "tests/live/test_psycopg.py", "test_a_cancel_ends_the_wait_for_a_backend"),
    85: ("one process, for now", "tests/live/test_hostile_load.py", "test_cancels_hit_only_what_their_key_belongs_to"),
    86: (OURS, "tests/runtime/test_queue_and_cancel.py", "test_a_storm_of_cancels_does_not_storm_the_server"),
    87: (LOGIN, "tests/codecs/postgres/test_beginnings.py", "test_a_cancel_key_of_an_encrypted_connection_is_not_sent_in_clear"),
    88: (LOGIN, "tests/runtime/test_session_parts.py", "test_ids_are_no_servers_positive_for_signed_readers_and_carry_the_worker"),
    89: (OURS, "tests/live/test_faults.py", "test_a_full_pool_tells_who_waits_and_the_session_lives_on"),
    90: ("there is no PAUSE yet", "tests/live/test_host_lists.py", "test_the_second_host_takes_over_when_the_first_dies"),
    91: (OURS, "tests/codecs/postgres/test_relay_faults.py", "test_a_client_is_told_when_its_next_backend_reports_something_else"),
    92: (LOGIN, "tests/live/test_versions.py", "test_a_version_is_answered_as_postgresql_18_answers_it"),
    93: (LOGIN, "tests/live/test_versions.py", "test_a_version_is_answered_as_postgresql_18_answers_it"),
    94: (LOGIN, "tests/live/test_versions.py", "test_encryption_that_there_is_not_is_refused_and_the_client_goes_on"),
    95: (LOGIN, "tests/codecs/postgres/test_beginnings.py", "test_direct_tls_where_there_is_none_is_closed_and_not_left_hanging"),
    96: (LOGIN, "tests/live/test_versions.py", "test_who_does_not_wait_for_the_answer_is_refused_as_at_the_server"),
    97: (LOGIN, "tests/live/test_versions.py", "test_start_up_parameters_do_what_they_do_directly"),
    98: (OURS, "tests/live/test_replication.py", "test_the_backend_is_nobody_elses_and_is_closed_at_the_end"),
    99: (LOGIN, "tests/live/test_old_wounds.py", "test_passwords_of_every_kind_work_as_they_do_directly"),
    100: (LOGIN, "tests/live/test_old_wounds.py", "test_a_password_that_is_changed_on_the_server_first_is_asked_for_and_not_hammered"),
}  # fmt: skip
"""Number: why, and which test in which file."""
