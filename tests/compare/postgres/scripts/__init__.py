"""The scripts, by subject."""

from tests.compare.postgres.scripts.constants import CONSTANTS
from tests.compare.postgres.scripts.copies import COPIES
from tests.compare.postgres.scripts.dropping import DROPPING
from tests.compare.postgres.scripts.endings import ENDINGS
from tests.compare.postgres.scripts.naming import NAMING
from tests.compare.postgres.scripts.pipelines import PIPELINES
from tests.compare.postgres.scripts.prepared import PREPARED
from tests.compare.postgres.scripts.reading import READING
from tests.compare.postgres.scripts.settings import SETTINGS
from tests.compare.postgres.scripts.startup import STARTUP
from tests.compare.postgres.scripts.state import STATE
from tests.compare.runner import Script

ALL: tuple[Script, ...] = (
    *STATE,
    *SETTINGS,
    *READING,
    *PREPARED,
    *NAMING,
    *CONSTANTS,
    *DROPPING,
    *PIPELINES,
    *COPIES,
    *STARTUP,
    *ENDINGS,
)
