"""What a part found: tables on the screen, numbers in `out/results.json`, bars in `out/*.svg`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Report:
    """Collects the numbers of one part."""

    def __init__(self, part: str, out: Path) -> None:
        self._part = part
        self._out = out
        self._results: dict[str, dict[str, Any]] = {}

    def add(
        self, name: str, value: float, unit: str, *, floor: float | None = None, ratio: float | None = None
    ) -> None:
        """Keep one number as `part.name`; `ratio` is value / floor unless it is given."""
        if ratio is None and floor:
            ratio = value / floor
        self._results[f"{self._part}.{name}"] = {
            "value": _short(value),
            "unit": unit,
            "floor": None if floor is None else _short(floor),
            "ratio": None if ratio is None else _short(ratio),
        }

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table; the first column is text, the others stand right."""
        cells = [tuple(head), *(tuple(_text(cell) for cell in row) for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        print(f"\n{title}")
        for number, row in enumerate(cells):
            others = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            print("  ".join([row[0].ljust(widths[0]), *others]))
            if number == 0:
                print("  ".join("-" * width for width in widths))

    def bars(self, name: str, title: str, values: Mapping[str, float], unit: str) -> None:
        """Draw horizontal bars on a logarithmic axis into `out/part-name.svg`."""
        try:
            from matplotlib import pyplot
        except ImportError:
            print(f"(no plot of {name}: matplotlib is not installed; `make bench` installs it)")
            return
        values = {label: value for label, value in values.items() if value > 0}
        figure, axes = pyplot.subplots(figsize=(9, 1 + 0.32 * len(values)), layout="constrained")
        bars = axes.barh(list(values)[::-1], list(values.values())[::-1])
        axes.bar_label(bars, labels=[f"{value:,.0f}" for value in values.values()][::-1], padding=3)
        axes.set(xscale="log", title=title, xlabel=unit)
        axes.margins(x=0.15)
        self._out.mkdir(exist_ok=True)
        figure.savefig(self._out / f"{self._part}-{name}.svg")
        pyplot.close(figure)

    def save(self) -> None:
        """Merge the numbers into `out/results.json`; those of other parts stay."""
        self._out.mkdir(exist_ok=True)
        path = self._out / "results.json"
        known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        kept = {key: value for key, value in known.items() if not key.startswith(f"{self._part}.")}
        path.write_text(json.dumps(dict(sorted({**kept, **self._results}.items())), indent=2) + "\n")
        print(f"\n{self._part}: {len(self._results)} numbers in {path}")


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)
