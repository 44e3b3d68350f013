"""Databases for the tracker's tests."""

import pytest

from paydesk.testing import databases


@pytest.fixture(scope="module")
def dsn():
    """A database without a table, as its owner; shared by the tests of a module."""
    made = databases.empty_database()
    yield made.owner_dsn
    databases.drop_database(made)


@pytest.fixture(scope="module")
def desk():
    """A database with the service's tables; its addresses."""
    with databases.lent_database() as made:
        yield made
