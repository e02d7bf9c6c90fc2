"Real servers in processes of their own, and clients on plain sockets."
import asyncio, os, signal, socket, sys, time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    "A server process, and the notes of its app."
    def __init__(self, process, port, notes, log): self.process, self.port, self.notes, self.log = process, port, notes, log

    def noted(self, what): return [float(line.split()[1]) for line in self.notes.read_text().splitlines() if line.split()[0] == what]

    async def until_noted(self, what, count=1, timeout=5):
        async with asyncio.timeout(timeout):
            while len(got := self.noted(what)) < count: await asyncio.sleep(0.01)
        return got

    async def stop(self, how=signal.SIGTERM, timeout=10, group=False):
        "Send the signal, to all its processes if the `group` is meant; the seconds until the server has gone."
        start = time.monotonic()
        (os.killpg if group else os.kill)(self.process.pid, how)
        async with asyncio.timeout(timeout): await self.process.wait()
        return time.monotonic() - start

    @property
    def output(self): return self.log.read_text()

    async def answers(self, path='/ok', timeout=10):
        "Wait until the server answers, and return the body."
        async with asyncio.timeout(timeout):
            while True:
                try: return await fetch(self.port, path)
                except OSError: await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(tmp_path, *command, port=None, cwd=ROOT, **env):
    "Run `command` with the text PORT replaced, as a server that answers at `/ok`."
    port, notes, log = port or free_port(), tmp_path/'notes', tmp_path/'log'
    notes.touch()
    with log.open('wb') as out:  # a pipe that nobody reads would fill up and stop the server
        process = await asyncio.create_subprocess_exec(sys.executable, *(str(c).replace('PORT', str(port)) for c in command), cwd=cwd,
            env=os.environ | {'NOTES': str(notes), 'PYTHONPATH': str(ROOT)} | env, start_new_session=True, stdout=out, stderr=out)
    server = Server(process, port, notes, log)
    try:
        await server.answers()
        yield server
    finally:
        try: os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError: pass
        await process.wait()


def uvicorn(*options): return '-m', 'uvicorn', 'tests.apps.streams:app', '--port', 'PORT', *options


@asynccontextmanager
async def connect(port, path, receive_buffer=None):
    "A raw connection that has sent its request."
    sock = socket.socket()
    if receive_buffer: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    try: await asyncio.get_running_loop().sock_connect(sock, ('127.0.0.1', port))
    except OSError: sock.close(); raise
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
