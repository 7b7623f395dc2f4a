"""The results of emulator runs as a table.

    python experiments/emulators/table.py FOLDER...

Each FOLDER is one that a run wrote; it stands in the table by its own name. The baselines are those
of the first.
"""

import json
import sys
from pathlib import Path

COLUMNS = ("rmse", "median_relative", "mean_dex", "median_dex", "p99_dex", "max_dex")


def main() -> None:
    print("| emulator |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 1) + "|")
    folders = [Path(name) for name in sys.argv[1:]]
    for folder in folders:
        row(folder.name, json.loads((folder / "metrics.json").read_text()))
    first = json.loads((folders[0] / "metrics.json").read_text())
    for name in ("train_mean", "nearest_neighbour", "chebyshev", "gaussian_process"):
        row(name, first, f"{name}/")


def row(name: str, metrics: dict[str, float], prefix: str = "") -> None:
    values = [metrics.get(prefix + column) for column in COLUMNS]
    if any(value is not None for value in values):
        print(f"| {name} |", " | ".join("-" if v is None else f"{v:.2g}" for v in values), "|")


if __name__ == "__main__":
    main()
