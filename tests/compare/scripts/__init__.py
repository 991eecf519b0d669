"""The scripts, by subject."""

from tests.compare.runner import Script
from tests.compare.scripts.constants import CONSTANTS
from tests.compare.scripts.copies import COPIES
from tests.compare.scripts.dropping import DROPPING
from tests.compare.scripts.endings import ENDINGS
from tests.compare.scripts.naming import NAMING
from tests.compare.scripts.pipelines import PIPELINES
from tests.compare.scripts.prepared import PREPARED
from tests.compare.scripts.reading import READING
from tests.compare.scripts.settings import SETTINGS
from tests.compare.scripts.startup import STARTUP
from tests.compare.scripts.state import STATE

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
