"How fifty streams end with each server: `python -m tests.support.servers [runs]` prints the table."
import asyncio, re, signal, sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.serving import serving, streams, uvicorn

FIFTY = ['/ticks'] * 49 + ['/silent']
GUNICORN = '-m', 'gunicorn', 'tests.apps.streams:app', '-b', '127.0.0.1:PORT', '-k', 'uvicorn_worker.UvicornWorker'
HYPERCORN = '-m', 'hypercorn', 'tests.apps.streams:app', '-b', '127.0.0.1:PORT'
GRANIAN = '-m', 'granian', '--interface', 'asgi', '--port', 'PORT', 'tests.apps.streams:app'
LAST_WORDS = re.compile(rb'retry: (\d+)\n\n\r\n0\r\n\r\n$')  # and the chunk that ends the body


@dataclass
class Row:
    "A server, and how it is stopped."
    command: tuple
    how: signal.Signals = signal.SIGTERM
    group: bool = False  # whether all processes get the signal, as from a terminal
    workers: int = 1
    paths: list = field(default_factory=lambda: FIFTY)
    env: dict = field(default_factory=dict)


@dataclass
class Outcome:
    "What was seen."
    seconds: float  # from the signal to the exit
    finallys: int  # sources that were closed
    shutdowns: int  # workers that ran the app's shutdown
    waits: list  # what the clients whose body ended well were told to wait, in ms
    tracebacks: int


CTRL_C = dict(how=signal.SIGINT, group=True)
ROWS = {
    'uvicorn, httptools, uvloop': Row(uvicorn('--http', 'httptools', '--loop', 'uvloop')),
    'uvicorn, httptools, asyncio': Row(uvicorn('--http', 'httptools', '--loop', 'asyncio')),
    'uvicorn, h11, uvloop': Row(uvicorn('--http', 'h11', '--loop', 'uvloop')),
    'uvicorn, h11, asyncio': Row(uvicorn('--http', 'h11', '--loop', 'asyncio')),
    'uvicorn, Ctrl-C': Row(uvicorn(), **CTRL_C),
    'uvicorn, behind BaseHTTPMiddleware': Row(uvicorn(), env={'MIDDLEWARE': 'passing'}),
    'uvicorn, beside sse-starlette': Row(uvicorn(), paths=FIFTY + ['/theirs'] * 25),
    'uvicorn --workers 2': Row(uvicorn('--workers', '2'), workers=2),
    'uvicorn --workers 2, Ctrl-C': Row(uvicorn('--workers', '2'), workers=2, **CTRL_C),
    'uvicorn --reload, Ctrl-C': Row(uvicorn('--reload', '--reload-dir', 'tests/apps'), **CTRL_C),
    'JupyUvi.stop()': Row(('-m', 'tests.apps.jupyter', 'PORT')),
    'gunicorn with uvicorn-worker': Row(GUNICORN),
    'gunicorn with uvicorn-worker, Ctrl-C': Row(GUNICORN, **CTRL_C),
    'hypercorn': Row(HYPERCORN),
    'hypercorn, uvloop': Row((*HYPERCORN, '-k', 'uvloop')),
    'hypercorn, Ctrl-C': Row(HYPERCORN, **CTRL_C),
    'granian, asyncio': Row((*GRANIAN, '--loop', 'asyncio')),
    'granian, uvloop': Row((*GRANIAN, '--loop', 'uvloop')),
    'granian, Ctrl-C': Row(GRANIAN, **CTRL_C),
}


async def stop(row: Row, folder: Path) -> Outcome:
    "Open the streams, stop the server, and see how all ends."
    async with serving(folder, *row.command, **row.env) as server, streams(server.port, *row.paths) as connections:
        seconds = await server.stop(row.how, group=row.group)
        ends = [LAST_WORDS.search(said) for reader, _ in connections if b'event: close' not in (said := await reader.read(-1))]
        waits = [int(end[1]) for end in ends if end]
        return Outcome(seconds, len(server.noted('finally')), len(server.noted('on_shutdown')), waits, server.output.count('Traceback'))


async def main(runs: int = 3) -> None:
    print('| server | seconds to exit | `finally`, of 50 | `on_shutdown` | clean ends | tracebacks |\n|---|---|---|---|---|---|')
    for name, row in ROWS.items():
        outcomes = []
        for _ in range(runs):
            with TemporaryDirectory() as folder: outcomes.append(await stop(row, Path(folder)))
        said = [' '.join(f'{value:.2f}' if isinstance(value, float) else str(value) for value in values) for values in
                zip(*((o.seconds, o.finallys, o.shutdowns, len(o.waits), o.tracebacks) for o in outcomes))]
        print(f'| {name} | {" | ".join(said)} |', flush=True)


if __name__ == '__main__': asyncio.run(main(*map(int, sys.argv[1:])))
