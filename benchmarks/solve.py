"""Work and precision of stiff solvers, side by side on one core.

    python benchmarks/solve.py
    python benchmarks/solve.py --problems pollu --peers "jaxchem rodas4" "scipy odeint" --quick
    python benchmarks/solve.py --scaling
    KPP_BENCH=FOLDER python benchmarks/solve.py --kpp

Writes results.csv, work_precision.png and the results in README.md; peers that are not installed
are left out. The reference solutions take minutes the first time and are kept.
"""

import argparse
import os
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--problems",
        nargs="+",
        help="osu29, pollu, saprc99; with --kpp the names in its table; by default all",
    )
    parser.add_argument("--peers", nargs="+", help="by their names in the table; by default all")
    parser.add_argument("--batch", type=int, default=64, help="cells of a problem")
    parser.add_argument("--quick", action="store_true", help="8 cells, four tolerances")
    parser.add_argument(
        "--limit", type=float, default=10.0, help="seconds of a run that end a peer's ladder"
    )
    parser.add_argument(
        "--add", action="store_true", help="keep what other runs left in the results"
    )
    parser.add_argument("--scaling", action="store_true", help="time against batch size instead")
    parser.add_argument("--kpp", action="store_true", help="in turns with KPP instead; see kpp.py")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="a folder")
    options = parser.parse_args()
    if options.kpp and not os.environ.get("KPP_BENCH"):
        parser.error("KPP_BENCH names no folder with KPP's models; kpp.py says what it holds")
    return options


def main() -> None:
    """Pins the process to one core, then measures: thread pools are sized at import."""
    options = arguments()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import measure
    import report

    options.out.mkdir(parents=True, exist_ok=True)
    if options.kpp:
        import kpp

        kpp.compare(options)
        report.write_kpp(options.out)
        return
    if options.scaling:
        measure.scaling(options.out, cores)
    else:
        measure.work_precision(options)
    report.write(options.out)


if __name__ == "__main__":
    main()
