"Clients that do not read: what is kept for them in memory, without a server."
import asyncio, gc, os, subprocess, sys, tracemalloc
from dataclasses import dataclass
from pkgutil import resolve_name

import uvloop

from .benchmark import Figure, Target
from .server import ROOT, command, prepare
from .source import MARK, MARKED, payload

TOGETHER = 10  # events
ASGI = {'version': '3.0', 'spec_version': '2.3'}
SCOPE = {'type': 'http', 'asgi': ASGI, 'http_version': '1.1', 'method': 'GET', 'scheme': 'http', 'path': '/events', 'raw_path': b'/events',
    'query_string': b'', 'root_path': '', 'headers': [(b'host', b'127.0.0.1')], 'client': ('127.0.0.1', 1), 'server': ('127.0.0.1', 80)}


@dataclass(frozen=True)
class BlockedBenchmark:
    readers: int = 1000
    events: int = 1000
    rounds: tuple = (3,)  # of each variant

    name = 'blocked'
    title = 'Clients that do not read'
    variants = 'blocked',
    figures = Figure('blocked', 'growth_mb', 'Memory for 1,000 events not read, MB'),
    targets = Target('blocked', 'growth_mb', None, 2, 'what is kept for clients that do not read, with the log, MB'),

    def takes(self, contender, variant): return contender.channel is not None

    def measure(self, contender, variant):
        with contender.store() as store:
            called = command('blocked', contender.spec, store, self.readers, self.events)
            done = subprocess.run(called, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return {'growth_mb': int(done.stdout) / 1e6}


async def never(): await asyncio.get_running_loop().create_future()


def only(message):
    "A `receive` that gives this one message."
    messages = [message]
    async def receive(): return messages.pop() if messages else await never()
    return receive


class Client:
    "A request that takes all that it is sent, unless it `blocks` at the first piece of the body."
    def __init__(self, app, blocks=False):
        self.blocks, self.count = blocks, 0
        self.begun, self.sent = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(app(SCOPE | {'state': {}}, only({'type': 'http.request'}), self.send))

    async def send(self, message):
        self.begun.set()
        if message['type'] == 'http.response.start': return
        self.count += message['body'].count(MARK)
        self.sent.set()
        if self.blocks: await never()

    async def take(self, count):
        "Wait until `count` events have been sent in all."
        while self.count < count:
            self.sent.clear()
            await self.sent.wait()


async def start(app):
    "Let `app` start up, if it wants to."
    started = asyncio.Event()
    async def send(message): started.set()
    lifespan = asyncio.create_task(app({'type': 'lifespan', 'asgi': ASGI, 'state': {}}, only({'type': 'lifespan.startup'}), send))
    lifespan.add_done_callback(lambda _: started.set())
    await started.wait()
    return lifespan


async def growth(contender, store, readers, events):
    "The bytes that are kept of this many `events` where only one more client reads."
    app, publish = contender.channel(store)
    _lifespan = await start(app)  # kept, for it ends when it is let go
    clients = [Client(app), *(Client(app, blocks=True) for _ in range(readers))]
    for client in clients: await client.begun.wait()
    await publish([payload(0, MARKED)])
    for client in clients: await client.sent.wait()
    await clients[0].take(1)
    tracemalloc.start()
    for done in range(1, events, TOGETHER):
        await publish([payload(done + i, MARKED) for i in range(TOGETHER)])
        await clients[0].take(done + TOGETHER)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main(core, parent, contender, store, readers, events):
    "Print the growth in bytes."
    prepare(core, parent)
    async def run():
        print(await growth(resolve_name(contender)(), store, int(readers), int(events)), flush=True)
        os._exit(0)  # nobody would end what is blocked
    uvloop.run(run())


if __name__ == '__main__': main(*sys.argv[1:])
