"""One run of the restore drill; the long ones are `python -m drill.restore`."""

import pytest

from drill.restore import judge_all
from drill.runs import report

pytestmark = pytest.mark.slow


async def test_orders_lost_by_a_restored_database_are_not_sent_twice(servers, migrated_template):
    bad = await judge_all([7], servers.database_url, migrated_template, at_once=1)
    if bad:
        pytest.fail(report(bad, "cd tests && python -m drill.restore --scripts 1 --from"), pytrace=False)
