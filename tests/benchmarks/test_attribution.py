"""`bench.payments.attribution` counts samples for the parts of the code that were running."""

import pytest
from bench.payments.attribution import part_of, shares


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("synccash/stores/postgres/orders/rows.py", "order store: rows and statements as JSON"),
        ("synccash/stores/valkey/connection.py", "Valkey"),
        ("synccash/stores/encryption.py", "encryption and keyed hashes"),
        ("synccash/rails/http/transport.py", "HTTP client"),
        ("synccash/rails/mtn_momo/connector.py", "rails: connectors, pacing"),
        ("somewhere/else.py", "other"),
    ],
)
def test_a_file_belongs_to_the_part_that_names_it_most_closely(path: str, part: str):
    assert part_of(path) == part


def test_a_sample_counts_for_the_frame_that_was_running():
    stacks = [
        "run (asyncio/runners.py:118);work (synccash/engine/worker.py:70) 3",
        "run (asyncio/runners.py:118);get (json/decoder.py:9) 1",
    ]
    assert shares(stacks) == {"engine": 0.75, "JSON": 0.25}


def test_no_samples_have_no_shares():
    assert shares([]) == {}
