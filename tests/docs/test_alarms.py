"""Every alert has its paragraph in docs/how-to/alarms.md: what it means, where to look, what to do."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "alarms.md"
RULES = ROOT / "deploy" / "prometheus" / "synccash.rules.yml"
PARTS = ("**Means.**", "**Look.**", "**Do.**")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def sections() -> dict[str, str]:
    found = re.split(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_every_alert_has_a_paragraph_and_every_paragraph_an_alert():
    assert {one["alert"] for one in alerts()} == sections().keys()


@pytest.mark.parametrize("alert", alerts(), ids=lambda one: one["alert"])
def test_an_alert_names_its_paragraph_which_says_what_to_do(alert: dict[str, Any]):
    assert alert["annotations"]["runbook"] == f"docs/how-to/alarms.md#{alert['alert'].lower()}"
    text = sections()[alert["alert"]]
    places = [text.find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


def test_the_table_tells_what_wakes_a_person():
    (row,) = re.findall(r"^\| (\[\w+\].*) \| (\[.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = [set(re.findall(r"\[(\w+)\]", cell)) for cell in row]
    by_severity = [
        {one["alert"] for one in alerts() if one["labels"]["severity"] == severity}
        for severity in ("page", "ticket")
    ]
    assert listed == by_severity
