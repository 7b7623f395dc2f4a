"""The command line `python -m jaxchem COMMAND`; experiments are of `python -m jaxchem.run`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name, and tells the exit status."""
    parser = argparse.ArgumentParser(
        "python -m jaxchem", description="Experiments run by python -m jaxchem.run."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except ValueError as error:
        print(f"jaxchem: {error}", file=sys.stderr)
        return 1
    return 0


def _write_c(commands: Any) -> None:
    parser = commands.add_parser(
        "write-c", help="write a network or an emulator as C with a module of Fortran"
    )
    parser.add_argument("what", help="name or file of a network, or a model.eqx of an emulator")
    parser.add_argument("folder", help="of the files, made where there is none")
    parser.add_argument("--name", help="of the files and functions")
    parser.add_argument(
        "--conditions",
        nargs="*",
        metavar="NAME",
        help="what the host gives for each cell; all that the rates need if not said",
    )
    parser.add_argument(
        "--given", nargs="*", default=[], metavar="NAME=VALUE", help="conditions that never change"
    )
    parser.add_argument("--method", help="Rosenbrock method of the integration")

    def run(options: argparse.Namespace) -> None:
        _double_precision()
        from .hosts import write_c

        settings = {"name": options.name} if options.name else {}
        if options.what.endswith(".eqx"):
            from .models import load_model

            if options.conditions is not None or options.given or options.method:
                raise ValueError("--conditions, --given and --method are for networks.")
            what = load_model(options.what)
        else:
            from .parse import load
            from .solvers import Integrator

            what = load(options.what)
            settings |= {"conditions": options.conditions, "given": _values(options.given)}
            if options.method:
                settings["integrator"] = Integrator(method=options.method)
        print(write_c(what, options.folder, **settings))

    parser.set_defaults(run=run)


_COMMANDS = (_write_c,)
"""Each adds its subcommand, with the function `run` of the options; none imports at once."""


def _double_precision() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)


def _values(settings: Sequence[str]) -> dict[str, Any]:
    """Conditions, and quantities of the mechanism, as `Network.rates` takes them."""
    from .rates.conditions import CONDITIONS, NAMED

    found, quantities = {}, {}
    for setting in settings:
        name, _, value = setting.partition("=")
        plain = name in CONDITIONS and name not in NAMED
        if name in found or name in quantities:
            raise ValueError(f"{name} is given twice; give it once.")
        if name in NAMED:
            raise ValueError(f"{setting!r}: give each by its own name, as J4=1e-5.")
        try:
            (found if plain else quantities)[name] = float(value)
        except ValueError:
            raise ValueError(f"{setting!r} is not NAME=VALUE with a number.") from None
    return {**found, "quantities": quantities} if quantities else found


if __name__ == "__main__":
    sys.exit(main())
