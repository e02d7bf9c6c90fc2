"What the tests in process share."
import pytest

from fasthtml_sse.testing import Stream, open_stream
from tests.support.clock import PATIENCE, TurnClock


@pytest.fixture
def clock(monkeypatch): return TurnClock(monkeypatch)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    "What does not say how long it waits does so longer than in a user's tests: it is no fault that this machine is busy."
    monkeypatch.setitem(open_stream.__wrapped__.__kwdefaults__, 'timeout', PATIENCE)
    monkeypatch.setattr(Stream.next, '__defaults__', (PATIENCE,))
