"""Which difference between schema and version is named, and what to do about it."""

import pytest

from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.schema.schema_version import EMPTY, SchemaCheck, difference, schema_problem

KNOWN = frozenset(("0001", "0002", "0003"))


@pytest.mark.parametrize(
    ("applied", "told"),
    [
        (KNOWN, None),
        (frozenset[str](), EMPTY),
        (
            KNOWN - {"0003", "0002"},
            "The database's schema lacks the migrations 0002, 0003. Run `synccash migrate`",
        ),
        (
            KNOWN | {"0004"},
            "The database's schema has migrations of a newer version (0004), and this version knows those up "
            "to 0003. Run the version that migrated the database",
        ),
        (
            (KNOWN - {"0003"}) | {"0004"},
            "The database's schema has migrations of a newer version (0004), and this version knows those up "
            "to 0003. Run the version that migrated the database",
        ),
    ],
)
def test_each_difference_is_told_with_what_to_do(applied: frozenset[str], told: str | None):
    assert difference(applied, KNOWN) == told


async def test_a_migrated_database_is_right_and_stays_so_when_the_next_version_migrates(database_url: str):
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        check = SchemaCheck(Database(pool))
        assert await check.problem() is None
        await pool.execute("INSERT INTO schema_migrations (version) VALUES ('9999')")
        assert await check.problem() is None
        assert await schema_problem(Database(pool)) is not None
    finally:
        await pool.close()


async def test_a_database_without_tables_is_empty(empty_database_url: str):
    pool = await connect(empty_database_url, min_size=0, max_size=1)
    try:
        assert await SchemaCheck(Database(pool)).problem() == EMPTY
    finally:
        await pool.close()
