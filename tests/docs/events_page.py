"""Writes docs/events.md from the `webhooks` of the OpenAPI document: `python tests/docs/events_page.py`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synccash.api.openapi.webhooks import webhook_example, webhooks

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
HEAD = """\
# Events
Generated from `api/openapi/webhooks.py` by `python tests/docs/events_page.py`; a test compares them.

A webhook endpoint gets the events of the types that it subscribes to, as a POST with a JSON body. Before
you act on one, [verify its signature](how-to/verify-a-webhook.md). Respond with 2xx, and work afterwards.
Events can come twice and in another order: store the ids that you have seen, and ignore an `object_version`
below the one that you know. `GET /api/v1/events` lists what you may have missed.

"""


def page() -> str:
    """Return the page."""
    calls: Mapping[str, Any] = {name: item["post"] for name, item in webhooks().items()}
    first = next(iter(calls.values()))
    text = HEAD + "| header | value |\n|---|---|\n"
    text += "".join(f"| `{one['name']}` | {one['description']}. |\n" for one in first["parameters"])
    text += "\n| your response | what happens |\n|---|---|\n"
    text += "".join(f"| {status} | {one['description']}. |\n" for status, one in first["responses"].items())
    return text + "".join(_section(name, call) for name, call in calls.items())


def _section(name: str, call: Mapping[str, Any]) -> str:
    meaning = call["description"].removesuffix(
        " Events can come twice and in another order: compare `object_version`."
    )
    example = json.dumps(webhook_example(name), indent=2, ensure_ascii=False)
    return f"\n## `{name}`\n{meaning}\n```json\n{example}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
