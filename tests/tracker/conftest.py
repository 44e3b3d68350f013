"""Databases for the tracker's tests."""

import os
import uuid

import psycopg
import pytest
from psycopg import sql


@pytest.fixture(scope="module")
def dsn():
    base = os.environ["TRACKER_DSN"]
    name = "t" + uuid.uuid4().hex
    with psycopg.connect(base, autocommit=True) as c:
        c.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield psycopg.conninfo.make_conninfo(base, dbname=name)
    with psycopg.connect(base, autocommit=True) as c:
        c.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
