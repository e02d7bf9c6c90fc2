"Answers by id, of as many hostile pieces as a file allows. The environment names log, htmx and form, and where finished ones are kept."
import asyncio, os, time
from pathlib import Path

from fasthtml.common import Button, Link, NotStr, Pre, fast_app

from fasthtml_sse import Channel, SSESource, sse_headers, swap
from fasthtml_sse.core.event import to_html

HOSTILE = (
    '<script>window.pwned = 1</script>', '&', '&amp;', '</div>', 'hx-swap-oob="innerHTML:#x"', '<p hx-swap-oob="innerHTML:body">x</p>', ' ',
    '   ', ' a', 'b ', '\n', '\n\n', 'c\n', '\r', '\u2028', '👩\u200d🚀', '<!--', ']]>', '<img src=x onerror="window.pwned = 1">')
PIECES = [HOSTILE[7 * n % len(HOSTILE)] for n in range(500)]
TEXT = ''.join(PIECES)
FAILS = 8  # pieces before a failure

def note(what):
    with open(os.environ['NOTES'], 'a') as notes: notes.write(f'{what} {time.monotonic()}\n')

def kept_at(id): return Path(os.environ['KEPT'])/f'kept-{id}'

async def answer(id, mode, fails):
    note(f'called-{id}')
    allowed = Path(os.environ['ALLOWED'])
    for n, piece in enumerate(PIECES):
        if fails and n == FAILS: raise RuntimeError('secret')
        while n >= int(allowed.read_text() or 0): await asyncio.sleep(0.005)
        yield piece if mode == 'text' else swap.append(piece, f'a{id}')
        await asyncio.sleep(0.004)
    if os.environ['KEEPS']: kept_at(id).write_bytes(TEXT.encode())

def make_app(place, build, mode):
    channel = Channel(None if place == 'memory' else place)
    hdrs = Link(rel='icon', href='data:,'), *sse_headers()
    app, rt = fast_app(htmx4=build.startswith('4.'), hdrs=hdrs, secret_key='of no use')
    words = {state: lambda id, text=text: swap.append(text, f'a{id}') for state, text in
        dict(failed='Sorry.', stopped='Stopped.', lost='Lost.').items()}

    @rt('/')
    def index(id: str = '1'):
        stop = Button('Stop', hx_post=f'/stop?id={id}', hx_swap='none')
        if kept_at(id).exists(): return Pre(NotStr(to_html(kept_at(id).read_bytes().decode())), id=f'a{id}')
        source = SSESource(f'/watch?id={id}', id='source', hx_swap='beforeend' if mode == 'text' else None)
        return (Pre(source, id=f'a{id}'), stop) if mode == 'text' else (Pre(id=f'a{id}'), source, stop)
    @rt('/watch')
    def watch(id: str):
        note(f'watched-by-{os.getpid()}')
        return channel.watch(id, lost=words['lost'](id))
    @rt('/start')
    async def start(id: str = '1', fails: bool = False):
        ends = {state: words[state](id) for state in ('failed', 'stopped')}
        return (await channel.run(answer(id, mode, fails), id, text=mode == 'text', **ends)).state
    @rt('/stop')
    async def stop(id: str): await channel.stop(id)
    @rt('/ok')
    def ok(): return 'ok'
    note('started')
    return app

if 'PLACE' in os.environ: app = make_app(os.environ['PLACE'], os.environ['BUILD'], os.environ['MODE'])
