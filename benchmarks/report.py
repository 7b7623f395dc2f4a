"""The tables and the figure of solve.py, and its results in README.md, from its CSV files."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
from measure import read
from readme import environment, put

TARGET = 1e-3
"""dex; the accuracy at which the table compares."""

Row = dict[str, Any]


class Cost(NamedTuple):
    """CPU time to reach `TARGET`: `ms` is infinite if it is not reached, a bound if `below`."""

    ms: float = math.inf
    below: bool = False

    def __str__(self) -> str:
        return f"{'<' * self.below}{self.ms:.3g}" if math.isfinite(self.ms) else "-"


def cost(curve: list[Row]) -> Cost:
    """Log-log interpolation between the first run that reaches `TARGET` and the one before."""
    for n, row in enumerate(curve):
        if row["error_dex"] <= TARGET:
            if n == 0:
                return Cost(row["ms"], below=True)
            before = curve[n - 1]
            span = math.log(row["error_dex"] / before["error_dex"])
            share = math.log(TARGET / before["error_dex"]) / span
            return Cost(before["ms"] * (row["ms"] / before["ms"]) ** share)
    return Cost()


def curves(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """(problem, peer) -> its runs at its best atol, loose to tight; none where a cell failed."""
    runs: dict[tuple[str, str], dict[float, list[Row]]] = {}
    for row in rows:
        ladders = runs.setdefault((row["problem"], row["peer"]), {})
        ladders.setdefault(row["atol"], [])
        if not row["failed"]:
            ladders[row["atol"]].append(row)

    def rank(curve: list[Row]) -> tuple[float, float]:
        return cost(curve).ms, min((row["error_dex"] for row in curve), default=math.inf)

    return {key: min(ladders.values(), key=rank) for key, ladders in runs.items()}


def write(out: Path) -> None:
    """Writes work_precision.png and what is measured in README.md."""
    rows = read(out / "results.csv")
    parts = [environment()]
    if rows:
        best = curves(rows)
        figure(best, out / "work_precision.png")
        parts += [table(best, rows), "![work against precision](work_precision.png)"]
    parts += scaling_table(read(out / "scaling.csv"))
    put(out, "results", "\n\n".join(parts))


def write_kpp(out: Path) -> None:
    """Writes into README.md what was measured beside KPP."""
    found = kpp_table(read(out / "kpp.csv"))
    if found:
        put(out, "kpp", "\n\n".join([environment(), *found]))


def table(best: dict[tuple[str, str], list[Row]], rows: list[Row]) -> str:
    """Cost of every peer on every problem, and how many times that of the best."""
    problems = list(dict.fromkeys(problem for problem, _ in best))
    costs = {key: cost(curve) for key, curve in best.items()}
    least = {p: min(c.ms for (q, _), c in costs.items() if q == p) for p in problems}
    failed = {(row["problem"], row["peer"]) for row in rows if row["failed"]}
    few = {row["peer"]: row["cells"] for row in rows}
    most = max(few.values())
    lines = [
        f"Milliseconds of CPU a trajectory at an error <= {TARGET:g} dex (times the best):",
        "",
        "| peer | " + " | ".join(problems) + " |",
        "|---" * (1 + len(problems)) + "|",
    ]
    for peer in dict.fromkeys(peer for _, peer in best):
        name = peer if few[peer] == most else f"{peer} ({few[peer]} cells)"
        cells = []
        for problem in problems:
            found = costs.get((problem, peer))
            text = "" if found is None else str(found)
            if found is not None and math.isfinite(found.ms):
                text += f" ({found.ms / least[problem]:.3g}x)"
            cells.append(text + (" *" if (problem, peer) in failed else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "`<`: the loosest run is already more accurate; `-`: not reached;"]
    lines += ["`*`: cells failed in some runs (see results.csv), which do not count."]
    return "\n".join(lines)


def figure(best: dict[tuple[str, str], list[Row]], path: Path) -> None:
    """Time against error, one panel a problem."""
    matplotlib.use("Agg")
    problems = list(dict.fromkeys(problem for problem, _ in best))
    peers = list(dict.fromkeys(peer for _, peer in best))
    size = (4.2 * len(problems) + 2.4, 4.0)
    drawing, panels = plt.subplots(1, len(problems), figsize=size, squeeze=False)
    for panel, problem in zip(panels[0], problems, strict=True):
        for n, peer in enumerate(peers):
            curve = best.get((problem, peer), [])
            panel.loglog(
                [row["error_dex"] for row in curve],
                [row["ms"] for row in curve],
                "o-" if peer.startswith("jaxchem") else "s--",
                color=f"C{n}",
                markersize=3,
                linewidth=1,
                label=peer,
            )
        panel.axvline(TARGET, color="0.8", linewidth=0.8, zorder=0)
        panel.invert_xaxis()
        panel.set(title=problem, xlabel="largest error / dex")
    panels[0, 0].set_ylabel("CPU time a trajectory / ms")
    panels[0, -1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
    drawing.tight_layout()
    drawing.savefig(path, dpi=150)
    plt.close(drawing)


def scaling_table(rows: list[Row]) -> list[str]:
    """Wall time against batch size, as a list of one table, or none without rows."""
    if not rows:
        return []
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    lines = [
        "Microseconds (wall) a trajectory of jaxchem rodas4 at rtol 1e-4 against batch size:",
        "",
        "| problem, cores | " + " | ".join(map(str, batches)) + " |",
        "|---" * (1 + len(batches)) + "|",
    ]
    for problem, cores in dict.fromkeys((row["problem"], row["cores"]) for row in rows):
        times = [
            f"{row['microseconds']:.4g}"
            for row in rows
            if (row["problem"], row["cores"]) == (problem, cores)
        ]
        lines.append(f"| {problem}, {cores} | {' | '.join(times)} |")
    return ["\n".join(lines)]


def kpp_table(rows: list[Row]) -> list[str]:
    """jaxchem's time over KPP's at `TARGET`, as a list of one table, or none without rows."""
    if not rows:
        return []
    lines = [
        f"In turns with KPP's Rodas4, milliseconds of CPU a cell at an error <= {TARGET:g} dex:",
        "",
        "| problem | cells | KPP | jaxchem rodas4 | jaxchem / KPP | steps at rtol 1e-4 |",
        "|---|---|---|---|---|---|",
    ]
    for problem, cells in dict.fromkeys((row["problem"], row["cells"]) for row in rows):
        here = [row for row in rows if (row["problem"], row["cells"]) == (problem, cells)]
        costs, steps = [], []
        for solver in ("KPP", "jaxchem"):
            curve = [row for row in here if row["solver"] == solver]
            costs.append(cost([row for row in curve if not row["failed"]]))
            steps += [f"{row['steps']:.0f}" for row in curve if row["rtol"] == 1e-4]
        ratio = costs[1].ms / costs[0].ms
        share = f"{ratio:.2g}" if math.isfinite(ratio) else "-"
        values = (problem, cells, *costs, share, ", ".join(steps))
        lines.append(f"| {' | '.join(map(str, values))} |")
    return ["\n".join(lines)]
