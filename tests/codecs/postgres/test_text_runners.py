"""Functions that run a query which they get as text: one that the text does not tell as a whole pins."""

from __future__ import annotations

import pytest

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.session_state import inspect

TOLD = [
    "SELECT query_to_xml('select 1'::text, true, null, '')",
    "SELECT * FROM crosstab($$select 1$$, /* two */ 'select 2') AS (a int)",
    "SELECT * FROM ts_stat('select v from t'), u WHERE a = $1",
    "SELECT * FROM connectby('t', 'a', 'b', 'c', 0)",
    "SELECT ts_rewrite(a, b, c) FROM t",
    "SELECT ts_rewrite(a || $1, 'select b, c from t') FROM t",
    "SELECT crosstab FROM ts_stat",
]
UNTOLD = [
    "SELECT query_to_xml($1, true, true, '')",
    "SELECT query_to_xml('select ' || $1, true, true, '')",
    "SELECT query_to_xml(E'select pg\\x5fadvisory_lock(1)', true, true, '')",
    "SELECT query_to_xml(U&'select 1', true, true, '')",
    "SELECT query_to_xml(q, true, true, '') FROM queries",
    "SELECT query_to_xml(('select 1'), true, true, '')",
    "SELECT query_to_xmlschema(tableforest => true, query => $1, nulls => true, targetns => '')",
    "SELECT * FROM crosstab(format('select %s', $1)) AS (a int)",
    "SELECT * FROM crosstab2('select 1' 'select 2'",
    "SELECT * FROM crosstab/**/(\n$1)",
    "SELECT * FROM ts_stat(format('select v from %I', 't'))",
    "SELECT * FROM connectby($1, 'a', 'b', 'c', 0)",
    "SELECT * FROM xpath_table('a', 'b', 'c', $1, 'd')",
    "SELECT ts_rewrite(a, b) FROM t",
    "DO $$ BEGIN PERFORM query_to_xml(text, true, true, ''); END $$",
]


@pytest.mark.parametrize("text", TOLD)
def test_a_query_that_is_a_literal_is_looked_into(text: str) -> None:
    assert not inspect(text.encode()).pins


@pytest.mark.parametrize("text", UNTOLD)
def test_a_query_that_is_not_told_pins(text: str) -> None:
    assert PinReason.UNRECOGNISED_STATE in {reason for reason, _ in inspect(text.encode()).pins}
