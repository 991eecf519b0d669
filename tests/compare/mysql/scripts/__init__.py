"""The scripts, by subject."""

from tests.compare.mysql.scripts.results import RESULTS
from tests.compare.mysql.scripts.state import STATE
from tests.compare.mysql.scripts.statements import STATEMENTS
from tests.compare.mysql.scripts.transactions import TRANSACTIONS
from tests.compare.runner import Script

ALL: tuple[Script, ...] = (*RESULTS, *STATE, *TRANSACTIONS, *STATEMENTS)
