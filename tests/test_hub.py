"What streams share: the signals, under a server that shows nothing else."
import asyncio, signal
from math import inf

import pytest

from fasthtml_sse import SSEResponse
from fasthtml_sse.core.hub import POLL, Signals
from fasthtml_sse.testing import open_stream

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


async def test_a_signal_ends_the_streams_of_an_unknown_server(servers_own):
    async with open_stream(stream, '/') as one, open_stream(stream, '/') as other:
        for s in one, other: await s.next()
        signal.raise_signal(signal.SIGTERM)
        for s in one, other: assert [e async for e in s] == [] and s.retry >= 500
    assert servers_own == [signal.SIGTERM]

async def test_a_stream_that_opens_soon_after_the_signal_is_ended_too(servers_own):
    async with open_stream(stream, '/') as s:
        await s.next()
        signal.raise_signal(signal.SIGTERM)
    async with open_stream(stream, '/') as late, asyncio.timeout(POLL * 3):
        await late.next()
        assert [e async for e in late] == [] and late.retry >= 500

async def test_a_stream_that_opens_long_after_a_signal_lives(servers_own, monkeypatch):
    async with open_stream(stream, '/') as s:
        await s.next()
        signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(Signals, 'last', Signals.last - 60)
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

async def test_a_signal_that_would_kill_at_once_is_left_alone():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        async with open_stream(stream, '/') as s:
            await s.next()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally: signal.signal(signal.SIGTERM, before)
