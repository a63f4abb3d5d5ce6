"""What users hold on to changes only when somebody means it."""

import synccash.resilience
from resilience.public_api import PAGE, page


def test_names_and_signatures_are_those_that_were_written_down():
    assert page() == PAGE.read_text(encoding="utf-8"), "if it is meant: python tests/resilience/public_api.py"


def test_there_are_at_most_fifteen_names_at_the_top_and_all_of_them_are_there():
    names = synccash.resilience.__all__
    assert len(names) <= 15
    assert len(set(names)) == len(names)
    assert all(hasattr(synccash.resilience, name) for name in names)
