"An event loop whose clock jumps to the next timer as soon as nothing else is to do."
import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    _now, _passes = 0.0, 0

    def time(self): return self._now

    def _run_once(self):
        self._passes += 1
        if self._passes > 10_000: raise RuntimeError(f'the loop is busy for ever at {self._now}')
        if not self._ready and self._scheduled and self._scheduled[0]._when > self._now: self._now, self._passes = self._scheduled[0]._when, 0
        super()._run_once()
