"""The floors of the house: imports only go down and in no circle; few rooms have some libraries."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import jaxchem

FLOORS = {
    module: floor
    for floor, modules in enumerate(
        (
            (
                *("expression", "formula", "scale", "sums", "metrics", "checkpoint", "solar"),
                *("fingerprint", "suggest", "brief", "files", "trust"),
            ),
            ("rates",),
            ("network", "parse", "box"),
            ("kinetics", "system", "thermal", "budget", "conserve"),
            ("solvers",),
            ("dataset", "workers", "soap", "train", "losses", "baselines", "hosts"),
            ("ensemble",),
            ("models",),
            (
                *("stages", "simulate", "clouds", "physics", "published", "learned", "plot"),
                *("collocation", "general", "importance", "inference"),
            ),
            ("record", "resume"),
            ("run", "__main__"),
        )
    )
    for module in modules
}
"""Module or package directly under jaxchem -> its floor."""

HOMES = {
    "hydra": ("run",),
    "omegaconf": ("run",),
    "xarray": ("dataset", "plot"),
    "blackjax": ("inference",),
    "optax": ("soap", "train", "stages"),
}
"""Library -> the only modules that import it."""

JITS = (
    "train",
    "stages",
    "simulate",
    "clouds",
    "physics",
    "published",
    "learned",
    "general",
    "inference",
    "dataset",
    "ensemble",
    "solvers",
    "run",
    "hosts",
)
"""The only modules that compile; everything else leaves that to its caller."""


def imports(tree: ast.AST, module: tuple[str, ...], package: bool) -> Iterator[tuple[str, ...]]:
    """Every imported module (or name in one) as a dotted path, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base: tuple[str, ...] = ()
            if node.level:
                up = node.level - package
                base = module[: len(module) - up]
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


def compiles(node: ast.AST) -> bool:
    """`jax.jit`, `eqx.filter_jit` and their like, as an attribute or as an import."""
    if isinstance(node, ast.Attribute):
        root = ast.unparse(node.value)
        return node.attr in ("jit", "pjit", "filter_jit") and root in ("jax", "eqx", "equinox")
    if isinstance(node, ast.ImportFrom) and node.module in ("jax", "equinox"):
        return any(alias.name in ("jit", "pjit", "filter_jit") for alias in node.names)
    return False


def violations(root: Path) -> list[str]:
    """Every breach of the rules in the package at `root`, as one sentence each."""
    found: list[str] = []
    modules: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative == Path("__init__.py"):
            continue
        package = path.name == "__init__.py"
        parts = relative.parent.parts if package else relative.with_suffix("").parts
        room = parts[0]
        tree = ast.parse(path.read_text(encoding="utf-8"), str(relative))
        if room not in FLOORS:
            found.append(f"{relative}: on no floor; give it one.")
            continue
        module = (root.name, *parts)
        modules[module] = list(imports(tree, module, package))
        for target in modules[module]:
            if target[0] == root.name:
                below = target[1] if len(target) > 1 else ""
                if below not in FLOORS:
                    found.append(f"{relative}: imports {'.'.join(target)}, not a module's floor.")
                elif FLOORS[below] > FLOORS[room]:
                    found.append(
                        f"{relative} (floor {FLOORS[room]}): imports {below} ({FLOORS[below]})."
                    )
            elif room not in HOMES.get(target[0], (room,)):
                found.append(f"{relative}: {target[0]} belongs in {HOMES[target[0]]} alone.")
        for node in ast.walk(tree):
            line = getattr(node, "lineno", 0)
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if call == "print" and room not in ("run", "__main__"):
                found.append(f"{relative}:{line}: prints.")
            if call in ("jax.config.update", "config.update") and room not in (
                "run",
                "__main__",
            ):
                found.append(f"{relative}:{line}: changes the global configuration.")
            if compiles(node) and room not in JITS:
                found.append(f"{relative}:{line}: compiles; leave that to the caller.")
    try:  # what is imported is a module, or a name in one
        TopologicalSorter(
            {m: {t if t in modules else t[:-1] for t in ts} - {m} for m, ts in modules.items()}
        ).prepare()
    except CycleError as error:
        circle = " <- ".join(".".join(module) for module in error.args[1])
        found.append(f"{circle}: imported in a circle.")
    return found


def test_house():
    assert not violations(Path(jaxchem.__file__).parent)


@pytest.mark.parametrize(
    "module, source, word",
    [
        ("rates.py", "from .network import Network", "floor 1"),
        ("rates.py", "from . import network", "floor 1"),
        ("rates.py", "import jaxchem.network", "floor 1"),
        ("rates.py", "def f():\n    from jaxchem.network import Network", "floor 1"),
        ("rates.py", "from jaxchem import load", "not a module"),
        ("rates.py", "import jaxchem", "not a module"),
        ("parse/table.py", "from ..kinetics import flux", "floor 2"),
        ("parse/__init__.py", "from ..solvers.integrator import solve", "floor 2"),
        ("parse/__init__.py", "from .. import solvers", "floor 2"),
        ("models/latent.py", "from ..stages import fit", "floor 7"),
        ("cellar.py", "", "no floor"),
        ("network.py", "import hydra", "hydra"),
        ("train.py", "from omegaconf import OmegaConf", "omegaconf"),
        ("losses.py", "import optax", "optax"),
        ("models/latent.py", "import xarray as xr", "xarray"),
        ("network.py", "def f():\n    print('x')", "prints"),
        ("network.py", "import jax\njax.config.update('a', 1)", "configuration"),
        ("network.py", "from jax import config\nconfig.update('a', 1)", "configuration"),
        ("kinetics.py", "import jax\n@jax.jit\ndef f(x): return x", "compiles"),
        ("kinetics.py", "import equinox as eqx\nf = eqx.filter_jit(abs)", "compiles"),
        ("kinetics.py", "from jax import jit", "compiles"),
    ],
)
def test_breach_is_found(tmp_path, module, source, word):
    path = tmp_path / "jaxchem" / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    (found,) = violations(tmp_path / "jaxchem")
    assert word in found


@pytest.mark.parametrize(
    "source",
    [
        "from .network import Network",
        "from . import network",
        "from . import Network",
        "import jaxchem.rates.network",
        "def f():\n    from .network import Network",
        "if TYPE_CHECKING:\n    from .network import Network",
    ],
)
def test_circle_is_found(tmp_path, source):
    package = tmp_path / "jaxchem" / "rates"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .network import Network")
    (package / "network.py").write_text("from . import law\nfrom .checks import check")
    (package / "law.py").write_text("import numpy")
    (package / "checks.py").write_text("from .law import LAWS")
    assert not violations(tmp_path / "jaxchem")
    (package / "checks.py").write_text(source)
    (found,) = violations(tmp_path / "jaxchem")
    assert "rates.network" in found and "rates.checks" in found and "circle" in found


@pytest.mark.parametrize(
    "module, source",
    [
        ("__init__.py", "from .run import main"),
        ("network.py", "from .rates import LAWS\nfrom .formula import CHARGE\nimport numpy"),
        (
            "parse/__init__.py",
            "from . import table\nfrom .table import loads\nfrom .. import rates",
        ),
        ("parse/table.py", "from ..network import Network"),
        ("network.py", '"""print(1), jax.jit and jax.config.update() in words."""'),
        ("run.py", "import hydra, jax\nprint(1)\njax.config.update('a', 1)\njax.jit(abs)"),
        ("stages/fit.py", "import optax, jax\nfrom ..models import latent\njax.jit(abs)"),
        ("dataset.py", "import xarray, equinox as eqx\n@eqx.filter_jit\ndef f(x): return x"),
        ("plot.py", "import xarray\nfrom .stages import fit"),
    ],
)
def test_what_is_allowed_passes(tmp_path, module, source):
    path = tmp_path / "jaxchem" / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert not violations(tmp_path / "jaxchem")
