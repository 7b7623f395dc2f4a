"""Makes the table and the figure of this study from run folders.

    python experiments/spin_ode/table.py RUNS

RUNS holds one folder an experiment, and in it one run folder a seed. Writes results.csv and
results.png beside this file and prints the table as Markdown.
"""

import csv
import json
import sys
from pathlib import Path

COLUMNS = ("err_k", "k_err", "max_err_k", "err_y", "err_dy", "identified", "failed")
HERE = Path(__file__).parent


def collect(folder: Path) -> list[dict[str, str]]:
    """One row a run and stage."""
    rows = []
    for path in sorted(folder.glob("*/*/metrics.json")):
        metrics = json.loads(path.read_text())
        folders = dict.fromkeys(name.split("/")[0] for name in metrics if "/" in name)
        stages = [name for name in folders if (path.parent / name / "model.eqx").exists()]
        for stage in sorted(stages, key=lambda s: (path.parent / s / "model.eqx").stat().st_mtime):
            values = {c: metrics.get(f"{stage}/{c}") for c in COLUMNS}
            rows.append(
                {"experiment": path.parts[-3], "seed": path.parts[-2], "stage": stage}
                | {c: "" if v is None else f"{v:.3g}" for c, v in values.items()}
            )
    return rows


def draw(rows: list[dict[str, str]]) -> None:
    """err_k after each stage, one line a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    names = list(dict.fromkeys(row["experiment"] for row in rows))
    for x, name in enumerate(names):
        stages = [r for r in rows if r["experiment"] == name and r["err_k"]]
        for step, stage in enumerate(dict.fromkeys(r["stage"] for r in stages)):
            values = [float(r["err_k"]) for r in stages if r["stage"] == stage]
            ax.plot([x - 0.15 + 0.3 * step] * len(values), values, "o", color=f"C{step}")
            ax.annotate(stage, (x - 0.15 + 0.3 * step, values[0]), fontsize=7, rotation=45)
    ax.set_yscale("log")
    ax.set_ylabel("err_k = mean |ln k - ln k true|")
    ax.set_xticks(range(len(names)), names, rotation=20, fontsize=8, ha="right")
    figure.savefig(HERE / "results.png", dpi=120)


def main() -> None:
    rows = collect(Path(sys.argv[1]))
    if not rows:
        sys.exit(f"no runs under {sys.argv[1]}: it wants EXPERIMENT/SEED/metrics.json")
    with open(HERE / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(rows)
    lines = [" | ".join(rows[0]), "|".join("---" for _ in rows[0])]
    lines += [" | ".join(row.values()) for row in rows]
    sys.stdout.write("\n".join(f"| {line} |" for line in lines) + "\n")


if __name__ == "__main__":
    main()
