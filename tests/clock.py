"An event loop whose clock jumps to the next timer as soon as nothing else is to do."
import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    _now = 0.0

    def time(self): return self._now

    def _run_once(self):
        if not self._ready and self._scheduled: self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()
