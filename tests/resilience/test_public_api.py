"""The public API of the toolkit changes only together with public_api.txt."""

import synccash.resilience
from resilience.public_api import PAGE, page


def test_public_names_and_signatures_equal_the_recorded_ones():
    assert page() == PAGE.read_text(encoding="utf-8"), (
        "to change the public API on purpose, run python tests/resilience/public_api.py"
    )


def test_the_package_exports_at_most_fifteen_names_and_all_exist():
    names = synccash.resilience.__all__
    assert len(names) <= 15
    assert len(set(names)) == len(names)
    assert all(hasattr(synccash.resilience, name) for name in names)
