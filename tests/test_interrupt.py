"""Ctrl-C while the compiled kernel runs."""

import subprocess
import sys

import pytest

from jaxchem.solvers import native

pytestmark = pytest.mark.skipif(not native.available(), reason="there is no C compiler")

INTERRUPTED = """
import os, signal, sys, threading
import jax, jax.numpy as jnp, numpy as np, jaxchem
signal.signal(signal.SIGINT, signal.default_int_handler)  # in background jobs it is ignored
jax.config.update("jax_enable_x64", True)
network = jaxchem.load("robertson")
k, start = network.rates(), jnp.asarray(network.y0({"A": 1.0}))
starts = jnp.linspace(0.5, 1.5, 20)[:, None] * start
spring = lambda y: (lambda t: k * (1.0 + 0.5 * jnp.sin(3e3 * t)))  # many steps, each a short one
def last(y, time):
    return jaxchem.solve(network, spring(y), y, time, rtol=1e-6, max_steps=10**9).ys[-1]
many = jax.vmap(last, in_axes=(0, None))
calls = {
    "solve": lambda time: last(start, time),
    "ensemble": lambda time: jaxchem.solve_ensemble(
        network, spring(start), starts, time, rtol=1e-6, max_steps=10**9
    ).ys,
    "gradient": lambda time: jax.grad(lambda y: many(y, time).sum())(starts),
    "jit": lambda time, f=jax.jit(many): f(starts, time),
    "jit of a gradient": lambda time, f=jax.jit(
        jax.grad(lambda y, time: many(y, time).sum())
    ): f(starts, time),
}
call = calls[sys.argv[1]]
short, long = jnp.array([1e-3]), jnp.array([1e7])  # hours, if nothing ends it
expected = np.asarray(call(short))
for _ in range(2):
    threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        jax.block_until_ready(call(long))
        sys.exit("it ran to its end")
    except KeyboardInterrupt:
        pass
    for _ in range(3):
        np.testing.assert_array_equal(call(short), expected)
"""


def runs(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("call", ["solve", "ensemble", "gradient", "jit", "jit of a gradient"])
def test_ctrl_c_ends_a_call(call):
    """As KeyboardInterrupt, instead of hours later; calls after it are right."""
    done = runs(INTERRUPTED, call)
    assert done.returncode == 0, done.stderr


OWN = """
import os, signal, threading, time
import jax, jax.numpy as jnp, numpy as np, jaxchem
jax.config.update("jax_enable_x64", True)
network = jaxchem.load("robertson")
k, start = network.rates(), jnp.asarray(network.y0({"A": 1.0}))
spring = lambda t: k * (1.0 + 0.5 * jnp.sin(3e3 * t))
@jax.jit
def last(time):
    return jaxchem.solve(network, spring, start, time, rtol=1e-6, max_steps=10**9).ys[-1]
long = jnp.array([3000.0])
expected = np.asarray(last(long))
count = []
own = lambda *_: count.append(1)
signal.signal(signal.SIGINT, own)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
np.testing.assert_array_equal(last(long), expected)
assert count == [1] and signal.getsignal(signal.SIGINT) is own, count
signal.signal(signal.SIGINT, signal.SIG_IGN)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
np.testing.assert_array_equal(last(long), expected)
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
signal.signal(signal.SIGINT, signal.default_int_handler)

# calls in threads: all end, and the exception is raised where Python raises it
ended = []
def run():
    try:
        jax.block_until_ready(last(1e5 * long))
    except Exception as error:
        ended.append(str(error))
threads = [threading.Thread(target=run) for _ in range(3)]
for thread in threads:
    thread.start()
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for thread in threads:
        thread.join()
    raise SystemExit("not interrupted")
except KeyboardInterrupt:  # Python 3.11 takes the thread that is joined here for ended
    until = time.monotonic() + 60.0
    while len(ended) < 3 and time.monotonic() < until:
        time.sleep(0.01)
assert len(ended) == 3 and all("interrupted" in text for text in ended), ended
np.testing.assert_array_equal(last(long), expected)
"""


def test_handlers_of_the_user_stay_in_force():
    """A call goes on where SIGINT does not mean KeyboardInterrupt; calls in threads end too."""
    done = runs(OWN)
    assert done.returncode == 0, done.stderr
