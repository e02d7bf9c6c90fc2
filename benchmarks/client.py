"The client: keeps what arrives and when, and checks it afterwards."
import asyncio, re
from bisect import bisect_left
from contextlib import asynccontextmanager
from itertools import accumulate
from time import monotonic_ns

import httptools

from .source import PAYLOAD, WARM_UP

REQUEST = b'GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n'
PATIENCE = 120  # seconds for one stream
AT_ONCE = 50  # connections
BLOCK = re.compile(rb'(.*?)(?:\r\n\r\n|\n\n)', re.S)
ID = re.compile(rb'id: ?[A-Za-z0-9.-]+')


class Fault(Exception):
    "A contender did not send what it should."


class Stream(asyncio.Protocol):
    "One connection, and the body that has arrived on it."
    def __init__(self, name):
        self.name, self.fault, self.transport = name, None, None
        self.pieces = []  # pairs of a time and the bytes that came then
        loop = asyncio.get_running_loop()
        self.opened, self.ended = loop.create_future(), loop.create_future()
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport):
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data): self.parse(monotonic_ns(), data)

    def parse(self, arrived, data):
        self.now = arrived
        try: self.parser.feed_data(data)
        except httptools.HttpParserError as e: self.end(f'{data!r:.80} ({e})')

    def on_headers_complete(self):
        if (status := self.parser.get_status_code()) == 200: self.opened.set_result(None)
        else: self.end(f'status {status}')

    def on_body(self, piece):
        if not self.ended.done(): self.pieces.append((self.now, piece))

    def on_message_complete(self): self.end()
    def connection_lost(self, error): self.end('the loss of the connection')

    def end(self, fault=None):
        "Nothing will follow; the first call counts."
        if self.ended.done(): return
        self.fault = fault
        for future in {self.opened, self.ended}:
            if not future.done(): future.set_result(None)

    def blocks(self):
        "What stands between blank lines, and when the last byte of it arrived."
        ends, body = list(accumulate(len(piece) for _, piece in self.pieces)), b''.join(piece for _, piece in self.pieces)
        end = 0
        for match in BLOCK.finditer(body):
            end = match.end()
            yield match[1], self.pieces[bisect_left(ends, end)][0]
        if self.ended.done() and end < len(body): self.fail('the end of the stream', f'half an event: {body[end:]!r:.80}')

    def check(self, count):
        """The times at which its events were made and arrived, and at which heartbeats did.

        Raises `Fault` unless the events are 0 to `count` - 1, in order. An event may have an id, and so may a heartbeat."""
        events, heartbeats = [], []
        for block, arrived in self.blocks():
            lines = [line for line in block.splitlines() if not line.startswith(b':')]
            if lines and ID.fullmatch(lines[0]): lines.pop(0)
            if not lines: heartbeats.append(arrived)
            else: events.append((self.made(lines, len(events), count), arrived))
        if self.fault: self.fail(named(len(events), count), self.fault)
        if len(events) < count: self.fail(named(len(events), count), 'the end of the stream')
        return events, heartbeats

    def made(self, lines, expected, count):
        "When the event of these lines was made. Raises `Fault` unless it is the expected one."
        event = len(lines) == 1 and lines[0].startswith(b'data:') and PAYLOAD.fullmatch(lines[0][5:].removeprefix(b' '))
        if not event: self.fail(named(expected, count), f"{b' / '.join(lines)!r:.160}")
        if expected == count or int(event[1]) != expected: self.fail(named(expected, count), f'event {int(event[1])}')
        return int(event[2])

    def fail(self, expected, received): raise Fault(f'{self.name}: expected {expected}, received {received}')


def named(number, count): return f'event {number}' if number < count else 'the end of the stream'


@asynccontextmanager
async def streams(server, count=1, make=Stream):
    "`count` connections on which the response has begun."
    connections = [make(f'{server.contender.name}, {server.variant}, connection {number}') for number in range(count)]
    loop = asyncio.get_running_loop()
    try:
        for start in range(0, count, AT_ONCE):
            batch = connections[start:start + AT_ONCE]
            for stream in batch: await loop.create_connection(lambda: stream, '127.0.0.1', server.port)
            for stream in batch: await in_time(stream.opened, stream)
        yield connections
    finally:
        for stream in connections:
            if stream.transport: stream.transport.abort()
        await asyncio.sleep(0)  # connections are lost in the next pass of the loop


async def in_time(future, stream):
    try: return await asyncio.wait_for(future, PATIENCE)
    except TimeoutError: raise Fault(f'{stream.name}: took longer than {PATIENCE} s') from None


async def receive(server):
    "The next stream of `server`, whole."
    async with streams(server) as [stream]: await in_time(stream.ended, stream)
    return stream


async def warm_up(server): (await receive(server)).check(WARM_UP)
