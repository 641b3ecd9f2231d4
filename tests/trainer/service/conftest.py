"""The settings of a small trainer and what serves, for all tests of this room."""

from tests.trainer.service.test_daemon import serving, settings

__all__ = ["serving", "settings"]
