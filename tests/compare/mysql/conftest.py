"""The servers, as the live tests have them."""

from tests.live.mysql.conftest import engines, tracking

__all__ = ["engines", "tracking"]
