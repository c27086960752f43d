"""Tables: printed as they come, and put between markers into docs/performance.md on request."""
import statistics
import time

import machine
from proxies import ROOT

PAGE = ROOT / "docs/performance.md"


def median(values):
    return statistics.median(values) if values else float("nan")


def verdict(value, bar):
    """Whether a value is at most its bar, in words."""
    return "holds" if value <= bar else "**fails**"


def table(head, rows):
    """Markdown, columns padded so that it also reads well on a terminal."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


class Section:
    """The result of one mode: text and tables in order."""

    def __init__(self, name, versions):
        self.name = name
        self.parts = [f"Measured {time.strftime('%Y-%m-%d')} on {machine.describe()}; {versions}. {machine.placement()}"]

    def add(self, text):
        self.parts.append(text)
        print(f"\n{text}", flush=True)

    def write(self):
        begin, end = f"<!-- bench {self.name} -->", f"<!-- /bench {self.name} -->"
        page = PAGE.read_text()
        if begin not in page or end not in page:
            raise SystemExit(f"bench: {PAGE} lacks the markers {begin} … {end}")
        before, rest = page.split(begin, 1)
        after = rest.split(end, 1)[1]
        PAGE.write_text(before + begin + "\n" + "\n\n".join(self.parts) + "\n" + end + after)
        print(f"\nbench: wrote {PAGE.relative_to(ROOT)}")
