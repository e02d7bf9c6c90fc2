"Snapshots that many want at the same moment: who shares one, what never is shared, and what a call that hangs may cost."
import asyncio, threading
from contextvars import ContextVar
from functools import partial

import pytest

from fasthtml_sse import Channel
from fasthtml_sse.broadcast import snapshot as module
from fasthtml_sse.broadcast.snapshot import Snapshots, same
from tests.support.asgi import Client
from tests.support.clock import PATIENCE, turns, until

pytestmark = pytest.mark.anyio


class Slow:
    "An async snapshot that counts its calls, and gives its number when it `may`."
    def __init__(self): self.calls, self.may, self.cancelled = 0, asyncio.Event(), 0

    async def __call__(self):
        self.calls += 1
        number = self.calls
        try: await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return f'snapshot {number}'

def slow():
    made = Slow()
    async def snapshot(): return await made()
    return made, snapshot


async def test_a_thousand_pages_that_return_at_once_make_one_call():
    channel, (made, snapshot) = Channel(), slow()
    clients = [Client.asking(channel.response(snapshot=snapshot, heartbeat_interval=None), 'of a former process-7') for _ in range(1000)]
    await until(lambda: made.calls and all(client.sent for client in clients))
    made.may.set()
    async with asyncio.timeout(PATIENCE):
        for client in clients: await client.got(b'data: snapshot 1\n\n')
    assert made.calls == 1 and len({client.sent[-1] for client in clients}) == 1
    for client in clients: client.leave()
    await asyncio.wait({client.request for client in clients})

async def test_who_joins_a_call_gets_all_that_was_published_since_it_began():
    channel, (made, snapshot) = Channel(), slow()
    async with Client.asking(channel.response(snapshot=snapshot, heartbeat_interval=None)) as first:
        await until(lambda: made.calls)
        id = await channel.publish('meanwhile')
        async with Client.asking(channel.response(snapshot=snapshot, heartbeat_interval=None)) as second:
            await turns()
            made.may.set()
            for client in (first, second): await client.got(f'data: snapshot 1\n\nid: {id}\ndata: meanwhile\n\n'.encode())
    assert made.calls == 1

async def test_who_joins_a_call_is_not_given_what_it_may_not_see():
    channel, (made, snapshot) = Channel(), slow()
    async with Client.asking(channel.response(snapshot=snapshot, heartbeat_interval=None)):
        await until(lambda: made.calls)
        limit = await channel.publish('a secret')
        async with Client.asking(channel.response(snapshot=snapshot, not_before=limit, heartbeat_interval=None)) as second:
            await turns()
            made.may.set()
            await second.got(b'data: snapshot 1\n\n')
            await channel.publish('open')
            await second.got(b'data: open\n\n')
            assert b'a secret' not in second.body

async def test_one_who_leaves_takes_it_from_nobody_and_the_last_gives_it_up():
    snapshots, (made, snapshot) = Snapshots(), slow()
    waiting = [asyncio.create_task(snapshots.make(snapshot, 0)) for _ in range(3)]
    await until(lambda: made.calls)
    waiting[0].cancel()
    await turns()
    assert not made.cancelled
    made.may.set()
    assert [await task for task in waiting[1:]] == [('snapshot 1', 0)] * 2
    made.may.clear()
    waiting = [asyncio.create_task(snapshots.make(snapshot, 1)) for _ in range(3)]
    await until(lambda: made.calls == 2)
    for task in waiting: task.cancel()
    await until(lambda: made.cancelled)
    assert not snapshots._shots

async def test_a_call_that_has_ended_is_not_shown_to_one_who_comes_later():
    snapshots, (made, snapshot) = Snapshots(), slow()
    made.may.set()
    assert [await snapshots.make(snapshot, 0) for _ in range(3)] == [(f'snapshot {n}', 0) for n in (1, 2, 3)]

async def test_a_crowd_at_one_place_is_served_a_moment_longer_unless_something_was_published():
    snapshots, made = Snapshots(), []
    async def snapshot():
        made.append(1)
        await asyncio.sleep(0.2)
        return len(made)
    assert await asyncio.gather(*(snapshots.make(snapshot, 5) for _ in range(3))) == [(1, 5)] * 3
    assert await snapshots.make(snapshot, 5) == (1, 5) and await snapshots.make(snapshot, 6) == (2, 6)

async def test_a_call_that_fails_fails_all_who_wait_and_is_made_again_for_the_next():
    snapshots, calls = Snapshots(), []
    async def snapshot():
        calls.append(1)
        await asyncio.sleep(0.01)
        raise LookupError(f'no database {len(calls)}')
    for n in (1, 2):
        results = await asyncio.gather(*(snapshots.make(snapshot, 0) for _ in range(5)), return_exceptions=True)
        assert [repr(error) for error in results] == [f"LookupError('no database {n}')"] * 5


# What is the same

user = ContextVar('user', default='nobody')

def of(*held): return lambda: held

def with_default(value): return lambda value=value: value

class Board:
    def all(self): return 'all'
    def __call__(self): return 'called'

board, other = Board(), Board()
thing = object()

@pytest.mark.parametrize('one, two, is_same', [
    (of('ann'), of('ann'), True),
    (of('ann'), of('bob'), False),
    (of(1), of(True), False),
    (of(1), of(1.0), False),
    (of('1'), of(1), False),
    (of(thing), of(thing), True),
    (of([]), of([]), False),
    (of(None), of(None), True),
    (with_default(1), with_default(1), True),
    (with_default(1), with_default(2), False),
    (partial(of, 'ann'), partial(of, 'ann'), True),
    (partial(of, 'ann'), partial(of, 'bob'), False),
    (partial(of, user='ann'), partial(of, user='ann'), True),
    (partial(of, user='ann'), partial(of, user='bob'), False),
    (of(('ann', 1)), of(('ann', 1)), True),
    (of(('ann', 1)), of(('ann', True)), False),
    (board.all, board.all, True),
    (board.all, other.all, False),
    (board, board, True),
    (board, other, False),
])
def test_functions_are_the_same_if_what_they_hold_is(one, two, is_same): assert (same(one) == same(two)) is is_same

async def test_what_was_made_for_one_user_is_never_shown_to_another():
    channel, begun, may = Channel(), [], asyncio.Event()
    async def snapshot():
        begun.append(user.get())
        await may.wait()
        return f'for {user.get()}'
    def ask(name):
        user.set(name)
        return Client.asking(channel.response(snapshot=snapshot, heartbeat_interval=None))
    async with ask('ann') as ann, ask('bob') as bob:
        await until(lambda: len(begun) == 2)
        may.set()
        await ann.got(b'data: for ann\n\n')
        await bob.got(b'data: for bob\n\n')


# Calls that hang

@pytest.fixture
def released():
    event = threading.Event()
    yield event
    event.set()

async def test_calls_that_hang_cost_a_few_threads_and_fail_when_they_take_too_long(monkeypatch, released):
    monkeypatch.setattr(module, 'DEADLINE', 0.3)
    channel, before = Channel(), threading.active_count()
    def hanging(n): return lambda: released.wait(PATIENCE) and n
    for _ in range(2):
        clients = [Client.asking(channel.response(snapshot=hanging(n), heartbeat_interval=None)) for n in range(45)]
        await until(lambda: all(client.sent for client in clients))
        assert threading.active_count() <= before + module.THREADS + 2
        assert await asyncio.to_thread(lambda: 'a def route') == 'a def route'
        for client in clients:
            with pytest.raises(TimeoutError, match='a snapshot took more than 0.3 s'): await client.request
    released.set()
    async def ready(): return 'ready'
    async with Client.asking(channel.response(snapshot=lambda: 'there again', heartbeat_interval=None)) as client:
        await client.got(b'data: there again\n\n')
