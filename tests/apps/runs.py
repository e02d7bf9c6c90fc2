"Runs of every temper over the log that the environment names, which note in a file what happens to them."
import asyncio, os, time

from fasthtml.common import fast_app

from fasthtml_sse import Channel, MemoryLog, RedisLog, SQLiteLog

kind, _, place = os.environ['LOG'].partition(' ')
channel = Channel({'sqlite': SQLiteLog, 'redis': RedisLog, 'memory': lambda _: MemoryLog()}[kind](place))
app, rt = fast_app(secret_key='of no use')

def note(what):
    with open(os.environ['NOTES'], 'a') as f: f.write(f'{what} {time.monotonic()}\n')

# Sources, by their tempers. One that has a use for it takes `seconds`

async def ticks(id, seconds):
    try:
        for number in range(10**9):
            yield number
            await asyncio.sleep(seconds or 0.02)
    finally: note(f'finally-{id}')

async def tidy(id, seconds):
    "Takes a while to clean up."
    try:
        yield 'begun'
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.25)
        note(f'finally-{id}')

async def deaf(id, seconds):
    "Does not heed that it is cancelled."
    yield 'begun'
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        try: await asyncio.sleep(0.05)
        except asyncio.CancelledError: pass
    note(f'late-{id}')
    yield 'late'

async def blocking(id, seconds):
    "Blocks the loop."
    yield 'begun'
    await asyncio.sleep(0.3)  # so that this is told
    note(f'blocks-{id}')
    time.sleep(seconds)
    note(f'late-{id}')
    yield 'late'

def sync(id, seconds):
    "Blocks the thread that it has."
    yield 'begun'
    time.sleep(seconds)
    note(f'late-{id}')
    yield 'late'

async def failing(id, seconds):
    yield 'begun'
    await asyncio.sleep(seconds)
    note(f'raises-{id}')
    raise ValueError('secret')

SOURCES = {source.__name__: source for source in (ticks, tidy, deaf, blocking, sync, failing)}

@rt
def ok(): return 'ok'

@rt
async def start(id: str, source: str = 'ticks', seconds: float = 0, unwatched: float = 0):
    def begin():
        note(f'start-{id}')
        return SOURCES[source](id, seconds)
    run = await channel.run(begin, id, unwatched=unwatched or None, failed='failed', stopped='stopped')
    return {'state': run.state, 'worker': os.getpid()}

@rt
async def stop(id: str): return {'stopped': await channel.stop(id)}

@rt
def watch(id: str): return channel.watch(id, lost='words of a loss')

@rt
def events(id: str): return channel.response(id)
