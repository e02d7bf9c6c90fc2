"Real servers in processes of their own, and those who read from them."
import asyncio, os, random, select, signal, socket, subprocess, sys, time
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread

import httptools
import httpx2 as httpx
from fastcore.net import free_port

from fasthtml_sse import EventParser

from . import ROOT

HOST = '127.0.0.1'
START = 20  # seconds until a server answers, on a busy machine


def waits(pid):
    "For each thread of a process and of those that come from it: for how many seconds it has waited for a core, as Linux tells."
    found = {}
    with suppress(OSError):
        for thread in Path(f'/proc/{pid}/task').iterdir():
            found[thread] = int((thread/'schedstat').read_text().split()[1]) / 1e9
            for child in (thread/'children').read_text().split(): found |= waits(child)
    return found


def until_ended(process, timeout):
    "Wait for the end of a process: `wait` with a timeout only looks twenty times a second, where the system can tell."
    if hasattr(os, 'pidfd_open'):
        with open(os.pidfd_open(process.pid)) as end:
            waiting = select.poll()  # select knows a thousand files at most
            waiting.register(end)
            waiting.poll(timeout * 1000)
    process.wait(timeout)


class Stopwatch:
    """The seconds of its block, without those for which the threads of the process `pid` waited for a core that others had: how fast
    a server is does not depend on who else runs. Exact where nobody does; on a busy machine what waited at the same time counts twice."""
    def __init__(self, pid): self.pid, self.over = pid, Event()

    def __enter__(self):
        self.first = self.last = waits(self.pid)
        self.looking = Thread(target=self.look_on)
        self.looking.start()
        self.start = time.monotonic()
        return self

    def look_on(self):
        while not self.over.wait(0.02): self.last = self.last | waits(self.pid)  # a thread that has ended tells nothing any more

    def __exit__(self, *error):
        seconds = time.monotonic() - self.start
        self.over.set()
        self.looking.join()
        self.seconds = seconds - sum(wait - self.first.get(thread, 0) for thread, wait in self.last.items())


class Server:
    "A server in a process, which answers at `/ok`, and what its app notes. It may be stopped and started again, on the same port."
    def __init__(self, folder, *command, port=None, cwd=ROOT, **env):
        self.port, self.cwd, self.process = port or free_port(HOST), cwd, None
        self.url, self.notes, self.log = f'http://{HOST}:{self.port}', folder/'notes', folder/'log'
        self.command = [sys.executable, *(str(part).replace('PORT', str(self.port)) for part in command)]
        self.env = os.environ | {'NOTES': str(self.notes), 'PYTHONPATH': str(ROOT)} | env

    def start(self):
        self.notes.parent.mkdir(exist_ok=True)
        self.notes.touch()
        with self.log.open('ab') as out:  # a pipe that nobody reads would fill up and stop the server
            self.process = subprocess.Popen(self.command, cwd=self.cwd, env=self.env, start_new_session=True, stdout=out, stderr=out)
        ends = time.monotonic() + START
        while not self.get('/ok'):
            assert self.process.poll() is None, f'the server has ended: {self.output}'
            assert time.monotonic() < ends, f'the server does not answer: {self.output}'
            time.sleep(0.01)

    def get(self, path, port=None):
        "The body of an answer; nothing if there is none."
        connection = HTTPConnection(HOST, port or self.port, timeout=START)
        try:
            connection.request('GET', path)
            return connection.getresponse().read()
        except (OSError, HTTPException): return b''
        finally: connection.close()

    def end(self, how=signal.SIGTERM, timeout=10, group=False):
        "Send the signal, to all its processes if the `group` is meant; the seconds until the server has gone, as a `Stopwatch` counts."
        with Stopwatch(self.process.pid) as watch:
            (os.killpg if group else os.kill)(self.process.pid, how)
            until_ended(self.process, timeout)
        return watch.seconds

    async def stop(self, *args, **kwargs): return await asyncio.to_thread(self.end, *args, **kwargs)

    def kill(self):
        "End all its processes there and then."
        if not self.process: return
        with suppress(ProcessLookupError): os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def output(self): return self.log.read_text()

    def noted(self, what): return [float(line.split()[1]) for line in self.notes.read_text().splitlines() if line.split()[0] == what]

    async def until_noted(self, what, count=1, timeout=5):
        async with asyncio.timeout(timeout):
            while len(got := self.noted(what)) < count: await asyncio.sleep(0.01)
        return got


@asynccontextmanager
async def serving(*args, **kwargs):
    "A `Server` that runs until the block is left."
    server = Server(*args, **kwargs)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally: server.kill()


def uvicorn(*options, app='streams'): return '-m', 'uvicorn', f'tests.apps.{app}:app', '--port', 'PORT', *options


@asynccontextmanager
async def connect(port, path, receive_buffer=None, **headers):
    "A raw connection that has sent its request."
    sock = socket.socket()
    if receive_buffer: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    try: await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    except OSError:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**14)
    try:
        lines = [f'GET {path} HTTP/1.1', 'Host: x', *(f'{name.replace("_", "-")}: {value}' for name, value in headers.items())]
        writer.write('\r\n'.join([*lines, '', '']).encode())
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError): await writer.wait_closed()


async def fetch(port, path):
    "The body of the answer to one request."
    async with connect(port, path) as (reader, _):
        try:
            head = await reader.readuntil(b'\r\n\r\n')
            return await reader.readexactly(int(head.lower().split(b'content-length: ')[1].split(b'\r\n')[0]))
        except asyncio.IncompleteReadError as e: raise ConnectionError from e


@asynccontextmanager
async def streams(port, *paths):
    "Connections on which the first event has arrived."
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(port, path)) for path in paths]
        for reader, _ in connections: await reader.readuntil(b'data: ')
        yield connections


# Who reads on and on

class Reader:
    """A page as a browser holds it: reads a stream over as many connections as it takes. `connect(last_id)` opens one, and yields
    its status and an async iterator of its bytes. (`asgi.Client` makes one request, in process.)"""
    def __init__(self, connect, last_id):
        self.connect, self.last_id = connect, last_id
        self.texts, self.gaps, self.statuses = [], 0, []  # an error takes the place of a status

    async def read(self, limit=None):
        "Read on one connection, which is cut after `limit` bytes of the body, wherever that is."
        async with self.connect(self.last_id) as (status, chunks), aclosing(chunks):
            self.statuses.append(status)
            if status == 200: await self.take(chunks, limit)

    async def take(self, chunks, limit):
        parser, received = EventParser(), 0
        async for chunk in chunks:
            for event in parser.feed(chunk if limit is None else chunk[:limit - received]):
                if event.event == 'gap': self.gaps += 1
                else: self.texts.append(event.event or event.data)
            self.last_id = parser.last_event_id or self.last_id
            received += len(chunk)
            if limit is not None and received >= limit: return

    async def run(self, cuts=(), pause=0.1):
        "Come back whenever a connection ends, within `pause` seconds. The first ones are cut, each after the bytes that `cuts` gives."
        while True:
            answered = self.statuses.count(200)
            try: await self.read(cuts[answered] if answered < len(cuts) else None)
            except (OSError, httpx.TransportError) as e: self.statuses.append(e)
            await asyncio.sleep(random.uniform(0, pause))


class Pieces(list):
    "What httptools has found in the body."
    on_body = list.append


async def body(reader, http, pieces):
    "The bytes of a body while they come, those first that came with the head."
    while True:
        if pieces: yield b''.join(pieces)
        pieces.clear()
        if not (data := await reader.read(2**16)): return
        http.feed_data(data)


def over_socket(port, path):
    "For a `Reader`: a plain connection."
    @asynccontextmanager
    async def opened(last_id):
        async with connect(port, path, last_event_id=last_id) as (reader, _):
            http = httptools.HttpResponseParser(pieces := Pieces())
            try: http.feed_data(await reader.readuntil(b'\r\n\r\n'))
            except asyncio.IncompleteReadError as e: raise ConnectionError from e
            yield http.get_status_code(), body(reader, http, pieces)
    return opened


def over_httpx(client, path):
    "For a `Reader`: a connection of `client`."
    @asynccontextmanager
    async def opened(last_id):
        async with client.stream('GET', path, headers={'Last-Event-ID': last_id}) as response:
            yield response.status_code, response.aiter_bytes()
    return opened
