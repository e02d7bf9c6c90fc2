"""Many answers of models at once, each watched by two pages: is each of them exact and in time, and what does a token cost?

    python -m benchmarks.runs [--runs 200] [--tokens 1000] [--rate 50] [--within 1]

The tokens come from a source in the server, which starts all runs at once; the pages are connections of this process, and open within a
second. (`--within 0` opens them in one moment: then the first second is that of as many requests, which FastHTML answers one by one.)
Nothing is compared: there are limits."""
import argparse, asyncio, json, socket, subprocess, sys, tempfile
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from time import monotonic_ns, process_time

from .client import Fault, Stream
from .server import CLIENT_CORE, ROOT, Meter, Server, allow_many_files, command, pin, prepare

WORDS = ('Nobody', ' can', ' say', ' for', ' certain', ',', ' because', ' <b>weather</b>', ' & climate', ' depend', ' on',
    ' somewhat', ' different', ' circumstances', '.', ' Perhaps', ' bring', ' a', ' raincoat', '\n\n')  # 6.5 bytes each
LATE = 0.3  # seconds
VARIANTS = {'append': 7.5, 'text': 4.0}  # bytes on the wire for each byte of the text, at most
PAGES = 2


def token(run, n): return WORDS[(7 * run + n) % len(WORDS)]


# The server, in a process of its own

def main(core, parent, variant, runs, tokens, rate, path, fd):
    prepare(core, parent)
    serve(variant, int(runs), int(tokens), float(rate), path, socket.socket(fileno=int(fd)))


def serve(variant, runs, count, rate, path, sock):
    import uvicorn
    from fasthtml.common import fast_app
    from starlette.responses import JSONResponse
    from fasthtml_sse import Channel, swap, tokens
    app, rt = fast_app()
    channel, made, commits = Channel(path), defaultdict(list), []
    append = channel.log._store.append
    def counting(posts):
        commits.append(len(posts))
        return append(posts)
    channel.log._store.append = counting

    async def model(run):
        loop = asyncio.get_running_loop()
        start = loop.time() + run / runs / rate  # they do not speak in time
        for n in range(count):
            await asyncio.sleep(max(0, start + n / rate - loop.time()))
            made[run].append(monotonic_ns())
            yield token(run, n)

    async def answer(run):
        async for piece in tokens(model(run)): yield piece if variant == 'text' else swap.append(piece, f'a{run}')

    @rt('/watch')
    def watch(id: int): return channel.watch(f'answer {id}')
    @rt('/go')
    async def go():
        is_text = variant == 'text'
        found = await asyncio.gather(*(channel.run(lambda run=run: answer(run), f'answer {run}', text=is_text) for run in range(runs)))
        return JSONResponse([run.state for run in found])
    @rt('/report')
    def report(): return JSONResponse({'made': made, 'commits': len(commits), 'cpu': process_time()})
    uvicorn.Server(uvicorn.Config(app, log_level='error', lifespan='off')).run(sockets=[sock])


class RunsServer(Server):
    "A server that has answers made when it is told to."
    def __init__(self, variant, runs, tokens, rate, path): self.args = variant, runs, tokens, rate, path
    def start(self, fd): return subprocess.Popen(command('runs', *self.args, fd), cwd=ROOT, pass_fds=[fd])


# The pages

class Page(Stream):
    "What a page of one run gets."
    def __init__(self, path):
        self.path = path
        super().__init__(path)

    def connection_made(self, transport):
        self.transport, self.asked = transport, monotonic_ns()
        transport.write(f'GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'.encode())

    @property
    def size(self): return sum(len(piece) for _, piece in self.pieces)


async def ask(port, path):
    "What the server answers."
    _, page = await asyncio.get_running_loop().create_connection(lambda: Page(path), '127.0.0.1', port)
    await page.ended
    if page.fault: raise Fault(f'{path}: {page.fault}')
    page.transport.close()
    return json.loads(b''.join(piece for _, piece in page.pieces))


async def watch(server, runs, within):
    "All pages, when all is told; and the server's report."
    loop, pages = asyncio.get_running_loop(), defaultdict(list)
    await ask(server.port, '/go')
    start = loop.time()
    for run in range(runs):
        await asyncio.sleep(max(0, start + run / runs * within - loop.time()))
        for _ in range(PAGES):
            _, page = await loop.create_connection(lambda run=run: Page(f'/watch?id={run}'), '127.0.0.1', server.port)
            pages[run].append(page)
    for page in (page for each in pages.values() for page in each): await page.ended
    return pages, await ask(server.port, '/report')


def shown(page, variant):
    "Pairs: when a piece arrived, and its text."
    from html import unescape
    from fasthtml_sse import EventParser
    parser = EventParser()
    for arrived, piece in page.pieces:
        for event in parser.feed(piece):
            if event.event == 'close': continue
            markup = event.data if variant == 'text' else event.data.partition('>')[2].rpartition('</')[0]
            yield arrived, unescape(markup)


def lateness(page, variant, run, made):
    """Nanoseconds by which each piece came later than it could: than its last token was made, and the page asked.

    Raises `Fault` if the text is not exact."""
    texts = [token(run, n) for n in range(len(made))]
    ends = {length: n for n, length in enumerate(accumulate(map(len, texts)))}
    found = list(shown(page, variant))
    if page.fault or ''.join(text for _, text in found) != ''.join(texts): raise Fault(f'run {run}: not the text ({page.fault})')
    lengths = accumulate(len(text) for _, text in found)
    return [arrived - max(made[ends[length]], page.asked) for (arrived, _), length in zip(found, lengths)]


def measure(variant, runs, tokens, rate, within):
    "What is found, by name."
    with tempfile.TemporaryDirectory() as folder, RunsServer(variant, runs, tokens, rate, Path(folder)/'events.db') as server:
        asyncio.run(wait_for(server))
        with Meter(server) as meter: pages, report = asyncio.run(watch(server, runs, within))
    pieces = [lateness(page, variant, run, report['made'][str(run)]) for run, each in pages.items() for page in each]
    late = sorted(ns for each in pieces for ns in each)
    text = PAGES * sum(len(token(run, n).encode()) for run in range(runs) for n in range(tokens))
    sent = sum(page.size for each in pages.values() for page in each)
    return {
        'pieces': len(late), 'in time': sum(ns <= LATE * 1e9 for ns in late) / len(late), 'median, ms': late[len(late) // 2] / 1e6,
        'latest, s': late[-1] / 1e9, 'latest end, s': max(each[-1] for each in pieces) / 1e9, 'bytes per byte of text': sent / text,
        'commits': report['commits'], 'CPU per token, µs': meter.server_cpu / 1e3 / (runs * tokens), **meter.circumstances}


async def wait_for(server):
    while True:
        try: return await ask(server.port, '/report')
        except (OSError, Fault): await asyncio.sleep(0.1)


def run():
    parser = argparse.ArgumentParser('python -m benchmarks.runs', description=__doc__.partition('\n')[0])
    for name, value in dict(runs=200, tokens=1000, rate=50, within=1).items(): parser.add_argument(f'--{name}', type=int, default=value)
    args = parser.parse_args()
    allow_many_files()
    pin(CLIENT_CORE)
    missed = []
    for variant, limit in VARIANTS.items():
        found = measure(variant, args.runs, args.tokens, args.rate, args.within)
        print(f'{variant}: ' + ', '.join(f'{name} {value:.4g}' for name, value in found.items()), flush=True)
        if found['in time'] < 0.999: missed.append(f"{variant}: {1 - found['in time']:.2%} of the pieces were later than {LATE} s")
        if found['latest end, s'] > LATE: missed.append(f'{variant}: an answer was whole later than {LATE} s after its last token')
        if found['bytes per byte of text'] > limit: missed.append(f'{variant}: more than {limit} bytes for each byte of text')
    if missed: sys.exit('\n'.join(missed))


if __name__ == '__main__':
    try: run() if len(sys.argv) < 8 else main(*sys.argv[1:])
    except Fault as e: sys.exit(f'FAILED: {e}')
