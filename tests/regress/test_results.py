"""What pg_regress prints is read as it is meant, and the documentation's page says it."""

from __future__ import annotations

import json

from tests.regress.isolation import session_names
from tests.regress.page import kept, markdown, reasons
from tests.regress.results import FAILED, NOT_RUN, OK, Results, Run, diffs, first_difference, outcomes, scheduled

TAP = """\
# using postmaster on 127.0.0.1, port 5555
ok 1         - test_setup                                219 ms
# parallel group (3 tests):  char boolean uuid
ok 2         + boolean                                   381 ms
not ok 3     + char                                      262 ms
not ok 4     - uuid                                        2 ms (test process exited with exit code 2)
1..4
# 2 of 4 tests failed.
"""
CLASSIC = """\
test test_setup                   ... ok          219 ms
parallel group (2 tests):  char boolean uuid
     boolean                      ... ok          381 ms
     char                         ... FAILED      262 ms
     uuid                         ... FAILED (test process exited with exit code 2)        2 ms
"""
DIFFS = """\
diff -U3 /s/expected/char.out /o/results/char.out
--- /s/expected/char.out\t2024-01-01
+++ /o/results/char.out\t2026-01-01
@@ -1,3 +1,3 @@
 same
--- a comment of SQL that is gone
+ERROR:  no | such `thing`
 same
diff -U3 /s/expected/uuid.out /o/results/uuid.out
--- /s/expected/uuid.out\t2024-01-01
+++ /o/results/uuid.out\t2026-01-01
@@ -1 +0,0 @@
-gone
"""


def test_the_output_of_every_version_is_understood() -> None:
    expected = scheduled("# comment\ntest: test_setup\n\ntest: boolean char uuid\ntest: later\n")

    for output in (TAP, CLASSIC):
        assert outcomes(output, expected) == {
            "test_setup": OK,
            "boolean": OK,
            "char": FAILED,
            "uuid": FAILED,
            "later": NOT_RUN,
        }


def test_the_diffs_are_cut_by_test_and_their_headers_are_no_difference() -> None:
    parts = diffs(DIFFS)

    assert list(parts) == ["char", "uuid"]
    assert first_difference(parts["char"]) == "--- a comment of SQL that is gone / +ERROR:  no | such `thing`"
    assert first_difference(parts["uuid"]) == "-gone"


def test_a_table_says_what_did_not_pass_where_and_why() -> None:
    parts = diffs(DIFFS)
    firsts = {name: first_difference(part) for name, part in parts.items()}
    results = Results("16.2", 40, "0.1", "2026-01-31")
    results.runs.append(Run("regress", "rdsp", "serial", 1.0, 5, {"char": FAILED}, firsts, pins={"listen": 2}))
    results.runs.append(Run("regress", "rdsp", "parallel", 1.0, 5, {"char": FAILED, "later": NOT_RUN}))

    table = results.table("rdsp", {("regress", "char"): "because"}).splitlines()

    assert table[2:] == [
        "| regress | `char` | serial, parallel | `--- a comment of SQL that is gone / +ERROR:  no \\| such 'thing'` | because |",
        "| regress | `later` | parallel (not run) |  | not known yet |",
    ]
    assert results.table("direct") == "None.\n"
    assert "| regress | rdsp | serial | 4/5 | 1 |" in results.summary()
    assert "| `listen` | 2 | 0 |" in results.pins()
    assert Results.of(json.loads(json.dumps(results.document()))).summary() == results.summary()


def test_every_test_that_did_not_pass_in_the_kept_runs_has_its_reason() -> None:
    assert kept()
    for results in kept():
        assert not results.failures("rdsp").keys() - reasons().keys()
    assert "not known yet" not in markdown()


def test_the_sessions_of_an_isolation_test_are_found_in_their_order() -> None:
    spec = (
        "setup { SELECT 1; }\n\nsession s1\nstep a { SELECT 'session x'; }\n# session no\nsession \"s 2\"\nstep b { }\n"
    )

    assert session_names(spec) == ["s1", "s 2"]
