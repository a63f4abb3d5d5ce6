"""One run of the restore drill; the long ones are `python -m drill.restore`."""

from drill.restore import judge_all


async def test_nothing_that_a_restored_database_has_lost_goes_twice(servers, migrated_template):
    assert await judge_all([7], servers.database_url, migrated_template, at_once=1) == {}
