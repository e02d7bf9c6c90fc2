"What streams share: the signals, under a server that shows nothing else."
import asyncio, signal, subprocess, sys
from math import inf

import pytest

from fasthtml_sse import SSEResponse
from fasthtml_sse.core.hub import NOTICE, POLL, Heartbeats, Signals
from fasthtml_sse.core.source import TURN
from fasthtml_sse.testing import open_stream
from tests.support.clock import virtual

pytestmark = pytest.mark.anyio


class Got(list):
    def append_signal(self, number, frame): self.append(number)


@pytest.fixture
def servers_own(monkeypatch):
    "A handler as a server has it, and the signals that it got."
    monkeypatch.setattr(Signals, 'last', -inf)
    got = Got()
    before = signal.signal(signal.SIGTERM, got.append_signal)
    yield got
    left = signal.signal(signal.SIGTERM, before)
    assert left == got.append_signal, 'a handler of ours was left behind'


async def silent():
    yield 'x'
    await asyncio.Event().wait()

stream = SSEResponse(silent)


@virtual
async def test_a_signal_ends_the_streams_of_an_unknown_server(servers_own):
    async with open_stream(stream, '/') as one, open_stream(stream, '/') as other:
        for s in one, other: await s.next()
        signal.raise_signal(signal.SIGTERM)
        for s in one, other: assert [e async for e in s] == [] and s.retry >= 500
    assert servers_own == [signal.SIGTERM]

@virtual
async def test_a_stream_that_opens_soon_after_the_signal_is_ended_too(servers_own, clock):
    async with open_stream(stream, '/') as s:
        await s.next()
        signal.raise_signal(signal.SIGTERM)
    clock.now += NOTICE / 2
    async with open_stream(stream, '/') as late, asyncio.timeout(POLL * 3):
        await late.next()
        assert [e async for e in late] == [] and late.retry >= 500

@virtual
async def test_a_stream_that_opens_long_after_a_signal_lives(servers_own, clock):
    async with open_stream(stream, '/') as s:
        await s.next()
        signal.raise_signal(signal.SIGTERM)
    clock.now += NOTICE
    async with open_stream(stream, '/') as s:
        await s.next()
        with pytest.raises(TimeoutError): await s.next(timeout=POLL * 2)

async def test_a_handler_that_was_put_above_ours_stays(servers_own):
    async with open_stream(stream, '/') as s:
        await s.next()
        ours = signal.getsignal(signal.SIGTERM)
        def above(number, frame): ours(number, frame)
        signal.signal(signal.SIGTERM, above)
    assert signal.getsignal(signal.SIGTERM) is above
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(0)
    assert servers_own == [signal.SIGTERM]
    signal.signal(signal.SIGTERM, servers_own.append_signal)

async def test_signals_are_left_alone_outside_the_main_thread(servers_own):
    async def use():
        async with open_stream(stream, '/') as s:
            await s.next()
            return signal.getsignal(signal.SIGTERM)
    seen = await asyncio.to_thread(lambda: asyncio.run(use()))
    assert seen == servers_own.append_signal

AFTER_THE_LOOP = '''
import asyncio, signal
from fasthtml_sse import SSEResponse
from fasthtml_sse.testing import open_stream
signal.signal(signal.SIGTERM, lambda *_: print('the server has it'))
async def silent(): yield 'x'; await asyncio.Event().wait()
async def main():
    async with open_stream(SSEResponse(silent), '/') as s:
        await s.next()
        ours = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda number, frame: ours(number, frame))
asyncio.run(main())
signal.raise_signal(signal.SIGTERM)
'''

async def test_a_signal_after_the_loop_has_closed_goes_on_to_the_server():
    said = await asyncio.to_thread(subprocess.run, [sys.executable, '-c', AFTER_THE_LOOP], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ('the server has it\n', '')

async def test_a_signal_that_would_kill_at_once_is_left_alone():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        async with open_stream(stream, '/') as s:
            await s.next()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally: signal.signal(signal.SIGTERM, before)


class Beater:
    "A connection that takes a quarter of a turn to beat."
    interval, slot = 0.05, None
    def __init__(self, beats, clock):
        self.beats, self.clock, self.quiet_since = beats, clock, asyncio.get_running_loop().time()
    def beat(self):
        self.clock.now += TURN / 4
        self.quiet_since = asyncio.get_running_loop().time()
        self.beats.append(self)

@virtual
async def test_others_have_their_turn_while_many_connections_beat(clock):
    beats, seen = [], set()
    heartbeats = Heartbeats(asyncio.get_running_loop())
    for _ in range(50): heartbeats.add(Beater(beats, clock))
    await asyncio.sleep(Beater.interval)
    while len(beats) < 50:
        seen.add(len(beats))
        await asyncio.sleep(0)
    heartbeats.stop()
    assert len(seen) > 5

@pytest.mark.parametrize('interval', [0.001, 0.02, 0.05, 0.1, 0.3, 1/3, 15, 86400, 1e9])
async def test_a_heartbeat_is_never_late_and_at_most_a_quarter_early(interval, clock):
    class Loop:
        "As much of a loop as heartbeats need, whose time is set."
        now = 15957.0
        def time(self): return self.now
        def call_at(self, when, fn, context):
            self.when, self.fn = when, fn
            return self
        def cancel(self): pass
    loop = Loop()
    class Quiet:
        slot = None
        def __init__(self, since): self.interval, self.quiet_since, self.gaps = interval, since, []
        def beat(self):
            self.gaps.append((loop.now - self.quiet_since) / interval)
            self.quiet_since = loop.now
    heartbeats, connections = Heartbeats(loop), [Quiet(loop.now + interval * n / 100) for n in range(100)]
    for c in connections: heartbeats.add(c)
    for _ in range(40):
        loop.now = loop.when
        loop.fn()
    first, later = [c.gaps[0] for c in connections], [gap for c in connections for gap in c.gaps[1:]]
    assert 0.749 < min(first) and max(first) < 1.001
    assert len(later) > 500 and 0.999 < min(later) and max(later) < 1.001
