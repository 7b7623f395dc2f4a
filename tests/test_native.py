"""The compiled kernel's calls: other processors, several devices, threads, tables."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxchem
from jaxchem.solvers import build, native

SCRIPT = """
import sys
import jax, jax.numpy as jnp, numpy as np, jaxchem
from jaxchem.network import Network, Reaction, Units
from jaxchem.solvers import native
jax.config.update("jax_enable_x64", True)
assert native.available()
side = lambda text: {name: text.split().count(name) for name in text.split()}
reactions = [
    Reaction(side(left), {n: float(c) for n, c in side(right).items()}, rate, f"{left} -> {right}")
    for left, right, rate in (("A", "B", "2.0 * ALL"), ("B B", "C B", 3.0), ("C", "A", "0.5"))
]
pool = Network.build(
    name="pool", species=dict.fromkeys("ABC"), reactions=reactions, units=Units("cm-3", "s"),
    pools={"ALL": {"A": 1.0, "B": 2.5, "C": 0.125}},
)
found = {}
varying = lambda s: (lambda t, y: s * k * (1 + 0.3 * jnp.sin(t) + 0.1 * jnp.exp(-y[0])))
plain = lambda s: s * k
for network, start, rates in ((jaxchem.load("pollu"), 0.1, plain), (pool, 0.3, varying)):
    k, ts = network.rates(), jnp.array([0.3, 2.0, 9.0])
    y0 = jnp.full(len(network.species), start) * jnp.arange(1, len(network.species) + 1)
    def last(s, y0):
        return jaxchem.solve(network, rates(s), y0, ts, rtol=1e-9, method="rodas4").ys
    @jax.jit
    def parts(y0):
        return {
            "alone": last(1.0, y0),
            "many": jax.vmap(lambda s: last(s, y0))(jnp.linspace(0.9, 1.1, 11)),
            "slope": jax.jacfwd(lambda s: last(s, y0))(1.0),
            "pulled": jax.jacrev(lambda y0: last(1.0, y0)[-1])(y0),
            "together": jax.vmap(jax.grad(lambda y0: last(1.0, y0)[-1].sum()))(jnp.stack([y0] * 3)),
        }
    found |= {f"{network.name}_{what}": np.asarray(v) for what, v in parts(y0).items()}
np.savez(sys.argv[1], lanes=native.lanes(), **found)
"""


def solved(tmp_path: Path, march: str) -> dict[str, np.ndarray]:
    """What the kernel that is built for this processor makes of the script."""
    out = tmp_path / f"{march}.npz"
    environment = {
        **os.environ,
        "JAXCHEM_CFLAGS": f"-march={march} -O1",
        "JAXCHEM_CACHE": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", SCRIPT, str(out)], check=True, env=environment)
    return dict(np.load(out))


@pytest.mark.skipif(not native.available(), reason="there is no C compiler")
def test_every_level_of_the_processor(tmp_path):
    """Registers of 2, 4 and 8 doubles: another order of sums, and nothing else."""
    flags = build.processor().split()
    if "sse2" not in flags:
        pytest.skip("not an x86 processor")
    levels = {"x86-64": 2} | ({"haswell": 4} if "avx2" in flags else {})
    levels |= {"skylake-avx512": 8} if "avx512f" in flags else {}
    found = {march: solved(tmp_path, march) for march in levels}
    first, *others = found.values()
    for march, lanes in levels.items():
        assert found[march].pop("lanes") == lanes
    for other in others:
        for name, expected in first.items():
            scale = 1e-9 * np.max(np.abs(expected))
            np.testing.assert_allclose(other[name], expected, rtol=1e-7, atol=scale, err_msg=name)


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, jaxchem
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
jax.config.update("jax_enable_x64", True)
network = jaxchem.load("robertson")
mesh = Mesh(np.array(jax.devices()), ("device",))
assert mesh.size == 2
y0 = jnp.asarray(network.y0({"A": 1.0})) * jnp.linspace(0.5, 2.0, 6)[:, None]
sharded = jax.device_put(y0, NamedSharding(mesh, P("device")))
ts = jnp.array([1.0, 1e3])
own = jnp.linspace(0.9, 1.1, 6)[:, None] * network.rates()
for adjoint, differentiate in (
    ("reverse", lambda f: f), ("reverse", jax.jacrev), ("forward", jax.jacfwd)
):
    for k in (lambda t, y: network.rates() * (1 + 0.1 * jnp.sin(t) + y[0]), None):
        def ends(y, row):
            how = {"adjoint": adjoint, "throw": False}
            return jaxchem.solve(network, row if k is None else k, y, ts, **how).ys[-1]
        run = jax.jit(jax.vmap(differentiate(ends)))
        found = run(sharded, own)
        assert found.sharding.spec[0] == "device", found.sharding
        text = run.lower(sharded, own).compile().as_text()
        assert "all-gather" not in text and "f64[3,2,3]" in text, text
        np.testing.assert_array_equal(found, run(y0, own))
# forward mode of the default adjoint is right, if not spread
slopes = jax.jit(jax.vmap(jax.jacfwd(lambda y: jaxchem.solve(network, own[0], y, ts).ys)))
np.testing.assert_array_equal(slopes(sharded), slopes(y0))
"""


@pytest.mark.skipif(not native.available(), reason="there is no C compiler")
def test_a_batch_on_several_devices_stays_there():
    """Each device integrates its own cells; none is sent to another one."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_head_of_the_tables_is_the_same_in_c():
    """Names, their order, and the number of the layout."""
    text = Path(native.__file__).with_name("kernel").joinpath("tables.h").read_text()
    head = re.search(r"typedef struct \{\s*int32_t ([^;]*);\s*\} Head;", text)
    number = re.search(r"enum \{ LAYOUT = (\d+) \};", text)
    assert head is not None and number is not None
    assert tuple(head[1].split(", ")) == native._Head._fields
    assert int(number[1]) == native._LAYOUT


@pytest.mark.skipif(not native.available(), reason="there is no C compiler")
@pytest.mark.parametrize(
    ("part", "message"), [("_LAYOUT", "another layout"), ("_method", "does not take")]
)
def test_tables_of_another_layout_are_refused(monkeypatch, part, message):
    """What a kernel of other sources would take for something else."""
    found = getattr(native, part)

    def longer(tableau):
        integers, numbers = found(tableau)
        return integers, np.append(numbers, 0.0)

    monkeypatch.setattr(native, part, found + 1 if part == "_LAYOUT" else longer)
    network = jaxchem.load("robertson")
    with pytest.raises(Exception, match=message):
        jaxchem.solve(network, network.rates(), network.y0({"A": 1.0}), [1.0])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        (
            {  # a job within a slice that has less
                "proc/self/cgroup": "0::/slice/job\n",
                "sys/fs/cgroup/slice/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/slice/job/cpu.max": "800000 100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/a:b\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {  # in a container, which sees the names of its host
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/0123\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "10000\n",
            },
            5,
        ),
    ],
)
def test_threads_keep_to_the_quota_of_the_control_group(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert native.threads(tmp_path) == expected


def test_threads_keep_to_the_affinity(tmp_path, monkeypatch):
    """A quota of more than there is gives no more."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert native.threads(tmp_path) == 2
    for name, text in {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "800 100"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert native.threads(tmp_path) == 2
