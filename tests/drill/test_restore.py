"""One run of the restore drill; the long ones are `python -m drill.restore`."""

from drill.restore import judge_all


async def test_orders_lost_by_a_restored_database_are_not_sent_twice(servers, migrated_template):
    assert await judge_all([7], servers.database_url, migrated_template, at_once=1) == {}
