"Time in tests: a loop whose clock jumps, turns that never end, and waiting for what is to come."
import asyncio
from time import monotonic

import pytest

PATIENCE = 10  # seconds after which what was to come has not come


class VirtualLoop(asyncio.SelectorEventLoop):
    "A loop whose clock jumps to the next timer as soon as nothing else is to do, and which fails where it would wait for ever."
    _now, _passes = 0.0, 0

    def time(self): return self._now

    def _run_once(self):
        self._passes += 1
        if self._passes > 10_000:
            self._passes = 0  # what is left has to be cancelled
            raise RuntimeError(f'the loop is busy for ever at {self._now}')
        due = min((timer._when for timer in self._scheduled if not timer.cancelled()), default=None)
        if not self._ready and due is None: raise RuntimeError(f'nothing is due: the loop would wait for ever at {self._now}')
        if not self._ready and due > self._now: self._now, self._passes = due, 0
        super()._run_once()


class TurnClock:
    "What all who take turns of a few milliseconds see as the time: it stands, so that no turn ends, until a test moves it."
    def __init__(self, monkeypatch):
        self.now = monotonic()
        for module in ('core.source', 'core.hub', 'broadcast.log'): monkeypatch.setattr(f'fasthtml_sse.{module}.monotonic', self)

    def __call__(self): return self.now


virtual = pytest.mark.parametrize('anyio_backend', [('asyncio', {'loop_factory': VirtualLoop})], ids=['virtual'])


def patience():
    "A limit of time for what is to come; none where the clock jumps, which fails if it never comes."
    return asyncio.timeout(None if isinstance(asyncio.get_running_loop(), VirtualLoop) else PATIENCE)


async def until(condition, pause=0):
    "Give others their turns until `condition` holds."
    async with patience():
        while not condition(): await asyncio.sleep(pause)


async def turns(count=30):
    "Give others so many turns."
    for _ in range(count): await asyncio.sleep(0)
