"Forks under coverage: it may hold a lock of its own at that moment in another thread, and then the child would wait for ever."
import os
from contextlib import ExitStack

import coverage

_held = ExitStack()

def _hold():
    running = coverage.Coverage.current()
    if running and running._collector and (lock := running._collector.data_lock): _held.enter_context(lock)

def hold_coverage_still():
    "Called before the package is imported, so that this lock is the last to be taken and the first to be free again."
    if hasattr(os, 'register_at_fork'): os.register_at_fork(before=_hold, after_in_parent=_held.close, after_in_child=_held.close)
