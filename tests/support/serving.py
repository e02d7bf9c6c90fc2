"Real servers in processes of their own, and clients on plain sockets."
import asyncio, os, signal, socket, subprocess, sys, time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http.client import HTTPConnection, HTTPException

from fastcore.net import free_port

from . import ROOT

HOST = '127.0.0.1'
START = 20  # seconds until a server answers, on a busy machine


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

    def get(self, path):
        "The body of an answer; nothing if there is none."
        connection = HTTPConnection(HOST, self.port, timeout=START)
        try:
            connection.request('GET', path)
            return connection.getresponse().read()
        except (OSError, HTTPException): return b''
        finally: connection.close()

    def end(self, how=signal.SIGTERM, timeout=10, group=False):
        "Send the signal, to all its processes if the `group` is meant; the seconds until the server has gone."
        start = time.monotonic()
        (os.killpg if group else os.kill)(self.process.pid, how)
        self.process.wait(timeout)
        return time.monotonic() - start

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
async def connect(port, path, receive_buffer=None):
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
        writer.write(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
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
