"""Simulation of a host's script on a design in pysim, Amaranth's own simulator."""

import warnings
from collections import deque
from collections.abc import Callable

import numpy as np
from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

from ._host import READ, Answers, Script

LIMIT = 1_000_000


def run_pysim(top: Elaboratable, script: Script, probe: Callable | None = None) -> Answers:
    """Run ``script`` on ``top``, whose host's port is ``top.host``.

    Args:
        probe: called with the simulation context once a cycle while the design runs.

    Raises:
        RuntimeError: the design is not done after a million cycles.
    """
    host, cycles, words, stream = top.host, [], [], list(script.stream)[::-1]

    async def bench(ctx) -> None:
        def offer() -> None:
            ctx.set(host.stream_valid, bool(stream))
            ctx.set(host.stream_data, stream[-1] if stream else 0)

        asked: deque[bool] = deque([False] * (READ - 1))  # whether a cycle asked for a word, the oldest first

        async def tick(reads: bool = False) -> None:
            await ctx.tick()
            asked.append(reads)
            if asked.popleft():
                words.append(ctx.get(host.read_data))

        for kind, where, value in [*script.steps, ("wait", 0, 0)]:
            if kind != "read":
                while any(asked):
                    await tick()
            ctx.set(host.address, where)
            if kind == "wait":
                return
            if kind == "write":
                ctx.set(host.write, 1)
                ctx.set(host.write_data, value)
                await ctx.tick()
                ctx.set(host.write, 0)
            elif kind == "read":
                await tick(reads=True)
            else:
                offer()
                ctx.set(host.start, 1)
                count = 0
                while True:
                    if probe is not None:
                        probe(ctx)
                    taken = stream and ctx.get(host.stream_ready)
                    done = ctx.get(host.done)
                    await ctx.tick()
                    ctx.set(host.start, 0)
                    count += 1
                    if done:
                        break
                    if taken and stream:
                        stream.pop()
                        offer()
                    if count > LIMIT:
                        raise RuntimeError(f"the hardware is not done after {LIMIT} cycles")
                cycles.append(count - 1)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pysim warns of memory ports that are not used
        simulator.run()
    return Answers(cycles=cycles, words=np.array(words, np.int64))
