"An event loop whose clock jumps to the next timer as soon as nothing else is to do."
import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    _now, _passes = 0.0, 0

    def time(self): return self._now

    def _run_once(self):
        self._passes += 1
        if self._passes > 10_000: raise RuntimeError(f'the loop is busy for ever at {self._now}')
        due = min((timer._when for timer in self._scheduled if not timer.cancelled()), default=self._now)
        if not self._ready and due > self._now: self._now, self._passes = due, 0
        super()._run_once()
