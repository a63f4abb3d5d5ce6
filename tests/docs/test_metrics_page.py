import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from metrics_page import LABELS, PAGE, page


def test_the_page_of_metrics_is_what_the_processes_serve():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tools/metrics_page.py"


def test_every_label_has_its_values():
    text = PAGE.read_text(encoding="utf-8")
    assert [label for label in LABELS if f"| `{label}` |" not in text] == []
