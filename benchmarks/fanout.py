"Many clients, and one publisher in the server: what it costs to deliver an event, and how late it comes."
import asyncio, socket, subprocess, sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pkgutil import resolve_name
from time import monotonic_ns

import uvloop

from .benchmark import Figure, Target
from .client import Stream, streams
from .server import ROOT, Meter, Server, command, prepare
from .source import MARK, MARKED, payload
from .stream import percentile

BURST = 10  # events that are published together
WARM_UP = 20  # bursts: Linux acknowledges the first 16 chunks of a connection one by one, which costs those longest who write seldom
RATE = 20  # events a second, in `paced`
CROWD = 'fasthtml-sse', 'raw-ASGI', 'uvloop'


class ChannelServer(Server):
    "A server that publishes to all its clients when it is told to."
    def __init__(self, contender, variant, store):
        super().__init__(contender, variant)
        self.store = store

    def start(self, fd):
        called = command('fanout', self.contender.spec, self.store, fd)
        return subprocess.Popen(called, cwd=ROOT, pass_fds=[fd], stdin=subprocess.PIPE, bufsize=0)

    def __exit__(self, *error):
        super().__exit__(*error)
        self.process.stdin.close()

    def publish(self, number):
        "Have it publish this `number` of events together."
        with suppress(BrokenPipeError): self.process.stdin.write(bytes([number]))  # it is gone: the readers lose their connections


class Reader(Stream):
    "A connection that only counts the events while they come. They are parsed when it is checked."
    def __init__(self, name, audience):
        super().__init__(name)
        self.audience, self.count, self.unread = audience, 0, []

    def data_received(self, data):
        if not self.opened.done(): return super().data_received(data)
        self.unread.append((monotonic_ns(), data))
        before, self.count = self.count, self.count + data.count(MARK)
        if before < self.audience.published <= self.count: self.audience.settle()

    def connection_lost(self, error):
        self.read()
        super().connection_lost(error)
        if self.count < self.audience.published: self.audience.settle()

    def read(self):
        unread, self.unread = self.unread, []
        for arrived, data in unread: self.parse(arrived, data)

    def check(self, count):
        self.read()
        return super().check(count)


class Audience:
    "All readers of a server, and how many of them still expect something."
    def __init__(self, server, patience):
        self.server, self.patience, self.readers = server, patience, []
        self.published, self.expecting, self.settled = 0, 0, None

    async def take(self, number):
        "Have this `number` of events published together, and wait until every reader has them."
        self.publish(number)
        await self.settling()

    def publish(self, number):
        self.published += number
        self.server.publish(number)

    async def settling(self):
        "Wait until every reader has all that was published. Raises `Fault` if one never will."
        self.settled = asyncio.get_running_loop().create_future()
        self.expecting = len(late := self.late())
        if late: await asyncio.wait({self.settled}, timeout=self.patience)
        for reader in self.late():
            reader.read()
            reader.end(f'nothing more for {self.patience:g} s')
        if any(reader.ended.done() for reader in self.readers): self.check()

    def late(self): return [reader for reader in self.readers if reader.count < self.published and not reader.ended.done()]

    def settle(self):
        "One of those who expect something has it, or is lost."
        self.expecting -= 1
        if self.expecting == 0 and not self.settled.done(): self.settled.set_result(None)

    def check(self):
        """For each reader the times at which its events were made and arrived.

        Raises `Fault` unless they are all that was published, once and in order."""
        return [reader.check(self.published)[0] for reader in self.readers]


@asynccontextmanager
async def audience(server, readers, patience):
    "An `Audience` of this many `readers`."
    all_readers = Audience(server, patience)
    async with streams(server, readers, partial(Reader, audience=all_readers)) as all_readers.readers: yield all_readers


@dataclass(frozen=True)
class FanoutBenchmark:
    readers: int = 1000
    crowd_readers: int = 5000
    bursts: int = 40  # a quarter of them to a crowd
    paced_events: int = 300  # several times what lies between two full garbage collections of any contender
    settled_after: float = 1  # seconds after the last reader has come
    patience: float = 30  # seconds without an event that is expected
    rounds: tuple = (5, 5, 3, 3)  # of each variant

    name = 'fanout'
    title = 'One event for many clients'
    variants = 'burst', 'paced', 'crowd', 'waiting'
    figures = (
        Figure('burst', 'cpu_us', 'CPU per delivery, µs', 'bursts to 1,000'),
        Figure('crowd', 'cpu_us', 'CPU per delivery, µs', 'bursts to 5,000'),
        Figure('paced', 'cpu_us', 'CPU per delivery, µs', 'single events to 1,000'),
        Figure('paced', 'p50_ms', f'Latency of {RATE} events/s to 1,000, ms', 'median'),
        Figure('paced', 'p99_ms', f'Latency of {RATE} events/s to 1,000, ms', '99th percentile'),
        Figure('waiting', 'memory_kib', 'Memory per reader of a channel, KiB'),
    )
    targets = (
        Target('burst', 'cpu_us', 'EventStream', 1/8, 'bursts: eight times the deliveries per CPU second'),
        Target('burst', 'cpu_us', 'sse-starlette', 1/12, 'bursts: twelve times the deliveries per CPU second'),
        Target('burst', 'cpu_us', 'raw-ASGI', 1/6, 'bursts: six times the deliveries per CPU second'),
        Target('burst', 'cpu_us', 'fasthtml-sse', 1/0.75, 'bursts over SQLite: three quarters of the deliveries per CPU second',
            ours='SQLiteLog'),
        Target('burst', 'cpu_us', 'fasthtml-sse', 1/0.75, 'bursts over Redis: three quarters of the deliveries per CPU second',
            ours='RedisLog'),
        Target('paced', 'cpu_us', 'raw-ASGI', 0.85, 'single events: less CPU per delivery'),
        Target('paced', 'p99_ms', 'EventStream', 1/2, 'single events, 99th percentile of latency: half'),
        Target('paced', 'p99_ms', 'sse-starlette', 1/3, 'single events, 99th percentile of latency: a third'),
        Target('waiting', 'memory_kib', 'EventStream', 2/3, 'memory per reader of a channel: two thirds'),
    )

    def takes(self, contender, variant):
        if variant == 'crowd': return contender.name in CROWD
        return contender.fans_out

    def measure(self, contender, variant):
        with contender.store() as store, ChannelServer(contender, variant, store) as server:
            return uvloop.run(getattr(self, variant)(server))

    async def burst(self, server): return await self.deliver(server, self.readers, self.bursts)

    async def crowd(self, server): return await self.deliver(server, self.crowd_readers, self.bursts // 4)

    async def deliver(self, server, readers, bursts):
        async with self.warm_audience(server, readers) as everyone:
            with Meter(server) as meter:
                for _ in range(bursts): await everyone.take(BURST)
            everyone.check()
        return {'cpu_us': meter.server_cpu / 1e3 / (bursts * BURST * readers)} | meter.circumstances

    async def paced(self, server):
        async with self.warm_audience(server, self.readers) as everyone:
            with Meter(server) as meter: await self.pace(everyone)
            late = sorted((arrived - made) / 1e6 for events in everyone.check() for made, arrived in events[WARM_UP * BURST:])
        waits = {'p50_ms': percentile(late, 0.5), 'p99_ms': percentile(late, 0.99)}
        return {'cpu_us': meter.server_cpu / 1e3 / len(late)} | waits | meter.circumstances

    async def pace(self, everyone):
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(self.paced_events):
            await asyncio.sleep(start + number / RATE - loop.time())
            everyone.publish(1)
        await everyone.settling()

    async def waiting(self, server):
        async with streams(server): pass
        before = server.memory
        async with audience(server, self.readers, self.patience) as everyone:
            with Meter(server) as meter: await asyncio.sleep(self.settled_after)
            memory = (server.memory - before) / 1024 / self.readers
            await everyone.take(BURST)
            everyone.check()
        return {'memory_kib': memory} | meter.circumstances

    @asynccontextmanager
    async def warm_audience(self, server, readers):
        async with audience(server, readers, self.patience) as everyone:
            for _ in range(WARM_UP): await everyone.take(BURST)
            yield everyone


async def obey(publish):
    "Publish as many events together as each byte of the standard input says."
    orders, numbers = asyncio.StreamReader(), count()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := await orders.read(1): await publish([payload(next(numbers), MARKED) for _ in range(order[0])])


def main(core, parent, contender, store, fd):
    prepare(core, parent)
    uvloop.run(resolve_name(contender)().broadcast(store, obey, socket.socket(fileno=int(fd))))


if __name__ == '__main__': main(*sys.argv[1:])
