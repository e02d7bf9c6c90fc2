"The clock of the tests: it jumps to what is due, and nothing waits for ever."
import asyncio

import pytest

from tests.support.clock import VirtualLoop


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner: return runner.run(coroutine)


def test_an_hour_takes_no_time():
    async def wait():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()
    assert run(wait()) == 3600

def test_what_would_wait_for_ever_fails():
    with pytest.raises(RuntimeError, match='nothing is due: the loop would wait for ever at 5'):
        async def wait():
            await asyncio.sleep(5)
            await asyncio.Event().wait()
        run(wait())

def test_a_timer_that_was_cancelled_is_not_waited_for():
    async def wait():
        asyncio.get_running_loop().call_later(5, print).cancel()
        await asyncio.Event().wait()
    with pytest.raises(RuntimeError, match='for ever at 0'): run(wait())

def test_what_never_waits_fails_too():
    async def spin():
        while True: await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match='the loop is busy for ever'): run(spin())
