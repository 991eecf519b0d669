"""The servers, as the live tests have them."""

from tests.live.mysql.conftest import tracking

__all__ = ["tracking"]
