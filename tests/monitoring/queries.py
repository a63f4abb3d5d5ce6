"""The queries of the alert rules and dashboards, and the series that they read."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "synccash.rules.yml"
RULE_TESTS = ROOT / "deploy" / "prometheus" / "synccash.rules.test.yml"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
VARIABLES = {"$mode": "test", "$__rate_interval": "1m"}
"""What Grafana puts into queries, as the tests do."""
OF_PROMETHEUS = frozenset({"up"})
"""Series that Prometheus makes itself."""
_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(\s*\()?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of a scrape."""

    name: str
    labels: Mapping[str, str]
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Selector:
    """A series in a query: its name, and what its labels have to be."""

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()

    def matches(self, sample: Sample) -> bool:
        """True when the query reads this sample."""
        return sample.name == self.name and all(
            _holds(how, sample.labels.get(label, ""), value) for label, how, value in self.matchers
        )


def _holds(how: str, found: str, value: str) -> bool:
    is_equal = found == value if how in ("=", "!=") else re.fullmatch(value, found) is not None
    return is_equal is not how.startswith("!")


def rules() -> list[dict[str, Any]]:
    """Return all rules, in order."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return the rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query with where it is."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{file.name}: {panel['title']}", filled_in(target["expr"])


def filled_in(query: str) -> str:
    """Return a query with the variables of Grafana replaced."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def selectors(query: str) -> list[Selector]:
    """Return the series that a query reads."""
    found: list[Selector] = []
    texts: list[str] = []

    def put_away(match: re.Match[str]) -> str:
        texts.append(match[0])
        return f'"{len(texts) - 1}"'

    plain = _GROUPING.sub(" ", re.sub(r"\[[^]]*\]", " ", _STRING.sub(put_away, query)))
    for name, matchers, call in _SELECTOR.findall(plain):
        if call or name.lower() in _KEYWORDS:
            continue
        whole = re.sub(r'"(\d+)"', lambda match: texts[int(match[1])], matchers)
        found.append(Selector(name, tuple(_MATCHER.findall(whole))))
    return found


def samples(text: str) -> list[Sample]:
    """Return the series of a scrape."""
    families = text_string_to_metric_families(text)
    return [Sample(one.name, one.labels, one.value) for family in families for one in family.samples]
