"""A list of 50 rows on a thousand pages, and a hundred writes a second: what does a live view cost, and how late is it?

    python -m benchmarks.live [--readers 1000] [--seconds 5] [--rounds 5]

It is compared with the same function, called and published by hand 20 times a second; the same rows are written on both sides. Then
another process writes, and what it wrote is looked for on a page. And a function that waits, or computes, runs while the loop is asked how
late it is."""
import argparse, asyncio, socket, subprocess, sys, tempfile
from pathlib import Path
from statistics import median
from time import monotonic_ns, perf_counter, sleep

from .client import Fault
from .runs import ask, wait_for
from .server import CLIENT_CORE, ROOT, Meter, Server, allow_many_files, command, pin, prepare
from .stream import percentile

ROWS, WRITES, RENDERS = 50, 100, 20  # in the list; a second
EVERY = 1 / RENDERS
SLOW = 0.05  # seconds that a slow function takes
VARIANTS = 'live', 'by hand'
WRITER = '''
import sqlite3, sys
from time import monotonic_ns, sleep
db = sqlite3.connect(sys.argv[1], timeout=5)
for n in range(int(sys.argv[2])):
    with db: db.execute("update item set n = ? where id = 1", [monotonic_ns()])
    sleep(0.06)
'''


# The server, in a process of its own

def main(core, parent, variant, path, fd):
    prepare(core, parent)
    serve(variant, path, socket.socket(fileno=int(fd)))


def serve(variant, path, sock):
    import uvicorn
    from fastlite import database
    from fasthtml.common import Table, Td, Tr, fast_app
    from starlette.responses import JSONResponse
    from fasthtml_sse import Channel, swap
    db = database(path)
    items = db.t.item.create(id=int, title=str, n=int, pk='id')
    for n in range(ROWS): items.insert(title=f'The item number {n}', n=0)
    channel, renders, lags = Channel(db), [], []
    channel.publish_table('item')

    def rows():
        renders.append(monotonic_ns())
        if variant == 'waits': sleep(SLOW)
        ends = perf_counter() + SLOW
        while variant == 'computes' and perf_counter() < ends: sum(range(1000))
        found = db.conn.execute('select id, title, n from item').fetchall()
        return Table(*(Tr(*map(Td, row)) for row in found), id='items')
    view = channel.live(rows, 'item', every=EVERY)
    app, rt = fast_app()

    async def tick(rate, act):
        "So many times a second, in time."
        loop = asyncio.get_running_loop()
        start, n = loop.time(), 0
        while True:
            n += 1
            await asyncio.sleep(max(0, start + n / rate - loop.time()))
            await act(n)
    async def write(n): db.conn.execute('update item set n = n + 1 where id = ?', [n % ROWS + 1])
    async def publish(n): await channel.publish(swap.morph(rows(), 'items'), 'view')
    async def lag():
        while True:
            before = perf_counter()
            await asyncio.sleep(0.001)
            lags.append(perf_counter() - before - 0.001)

    @rt('/events')
    def events(): return channel.response('view') if variant == 'by hand' else view.response()
    @rt('/start')
    async def start(writes: int = WRITES):
        app.state.tasks = [asyncio.create_task(each) for each in
            ([tick(writes, write)] if writes else []) + ([tick(RENDERS, publish)] if variant == 'by hand' else [])
            + ([lag()] if variant in ('waits', 'computes') else [])]
        return JSONResponse('started')
    @rt('/report')
    def report(): return JSONResponse({'renders': len(renders), 'lag': percentile(sorted(lags), 0.99) if lags else 0})
    uvicorn.Server(uvicorn.Config(app, loop='uvloop', log_level='error', lifespan='off')).run(sockets=[sock])


class LiveServer(Server):
    def __init__(self, variant, path): self.variant, self.path = variant, path
    def start(self, fd): return subprocess.Popen(command('live', self.variant, self.path, fd), cwd=ROOT, pass_fds=[fd])


# The pages

class Page(asyncio.Protocol):
    "A connection that counts events, and keeps the last bytes."
    def __init__(self): self.count, self.last, self.arrived, self.is_lost = 0, b'', 0, False

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b'GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')

    def data_received(self, data):
        self.count += data.count(b'\ndata: ')
        self.last, self.arrived = (self.last + data)[-10_000:], monotonic_ns()

    def connection_lost(self, error): self.is_lost = True


async def opened(port, readers):
    loop = asyncio.get_running_loop()
    pages = [(await loop.create_connection(Page, '127.0.0.1', port))[1] for _ in range(readers)]
    while not all(page.last for page in pages): await asyncio.sleep(0.05)
    return pages


async def deliver(server, readers, seconds):
    "What the server used in so many seconds, and what came."
    pages = await opened(server.port, readers)
    await ask(server.port, '/start')
    await asyncio.sleep(1)
    before, counts = await ask(server.port, '/report'), [page.count for page in pages]
    with Meter(server) as meter: await asyncio.sleep(seconds)
    after = await ask(server.port, '/report')
    came = [page.count - count for page, count in zip(pages, counts)]
    if any(page.is_lost for page in pages): raise Fault('a page lost its connection')
    for page in pages: page.transport.abort()
    return {'CPU, %': 100 * meter.server_cpu / meter.wall, 'renders a second': (after['renders'] - before['renders']) / meter.wall * 1e9,
        'events a second, least': min(came) / seconds, 'most': max(came) / seconds, 'client, %': 100 * meter.client_cpu / meter.wall}


async def hear(server, path, writes=100):
    "Milliseconds from each write of another process until a page has it."
    page, = await opened(server.port, 1)
    await ask(server.port, '/start?writes=0')
    late, writer = [], subprocess.Popen([sys.executable, '-c', WRITER, path, str(writes)])
    while writer.poll() is None:
        count = page.count
        while page.count == count and writer.poll() is None: await asyncio.sleep(0.0002)
        stamp = page.last.rpartition(b'<td>1</td>')[2].split(b'<td>')[2].split(b'<')[0] if page.count > count else b'0'
        if int(stamp): late.append((page.arrived - int(stamp)) / 1e6)
    if len(late) < 0.9 * writes: raise Fault(f'{len(late)} of {writes} writes were seen')
    return late


async def lag_of(server, seconds):
    await opened(server.port, 10)
    await ask(server.port, '/start')
    await asyncio.sleep(seconds)
    return await ask(server.port, '/report')


def with_server(variant, act, *args):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder)/'app.db')
        with LiveServer(variant, path) as server:
            async def run():
                await wait_for(server)
                return await act(server, *args) if act is not hear else await act(server, path)
            return asyncio.run(run())


def shown(found): return ', '.join(f'{name} {value:.4g}' for name, value in found.items())


def run():
    parser = argparse.ArgumentParser('python -m benchmarks.live', description=__doc__.partition('\n')[0])
    for name, value in dict(readers=1000, seconds=5, rounds=5).items(): parser.add_argument(f'--{name}', type=int, default=value)
    args = parser.parse_args()
    allow_many_files()
    pin(CLIENT_CORE)
    missed, found = [], {variant: [] for variant in VARIANTS}
    for n in range(args.rounds):
        for variant in VARIANTS[::1 - n % 2 * 2]:
            found[variant].append(with_server(variant, deliver, args.readers, args.seconds))
            print(f'{variant}: {shown(found[variant][-1])}', flush=True)
    ratio = median(live['CPU, %'] / hand['CPU, %'] for live, hand in zip(*found.values()))
    print(f'CPU of a live view: {ratio:.3f} × by hand')
    late = with_server('live', hear)
    print(f'a write of another process is on the page after {median(late):.1f} ms, p99 {percentile(sorted(late), 0.99):.1f} ms')
    lags = {variant: with_server(variant, lag_of, args.seconds) for variant in ('waits', 'computes')}
    for variant, each in lags.items():
        print(f'a function that {variant} for {SLOW * 1000:.0f} ms: p99 of the loop {each["lag"] * 1000:.2f} ms, {each["renders"]} calls')
    if max(live['renders a second'] for live in found['live']) > RENDERS * 1.02: missed.append(f'more than {RENDERS} renders a second')
    if ratio > 1.10: missed.append('a live view takes more than 1.10 times the CPU')
    if median(late) > 20: missed.append('a write of another process took more than 20 ms')
    if lags['waits']['lag'] > 0.005: missed.append('a function that waits held the loop for more than 5 ms')
    if missed: sys.exit('\n'.join(missed))


if __name__ == '__main__':
    try: run() if len(sys.argv) != 6 else main(*sys.argv[1:])
    except Fault as e: sys.exit(f'FAILED: {e}')
