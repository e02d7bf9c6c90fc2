"An answer of hostile pieces, which is made once, over the log and with the htmx that the environment names; it notes each call."
import asyncio, os
from contextlib import suppress

from fasthtml.common import Link, Pre, fast_app

from fasthtml_sse import Channel, SSESource, sse_headers, swap

HOSTILE = ('<script>window.pwned = 1</script>', '&', '&amp;', '</div>', '<div hx-swap-oob="innerHTML:body">', ' ', '   ', ' x ', '\n',
    '\n\n', '\r',
    '\u2028', '👩\u200d🚀', '<!--', ']]>', 'data: y', 'word', '<img src=x onerror="window.pwned = 1">', '&#13;', '\t')
PIECES = [HOSTILE[7 * n % len(HOSTILE)] + str(n) for n in range(500)]
TEXT = ''.join(PIECES)
PAUSE = float(os.environ.get('PAUSE', 0.006))  # seconds between two of them

def note(what):
    with open(os.environ['NOTES'], 'a') as notes: notes.write(f'{what}\n')

async def answer(mode, fails=False):
    note('called')
    for n, piece in enumerate(PIECES):
        if fails and n == 8: raise RuntimeError('secret')
        yield piece if mode == 'text' else swap.append(piece, 'answer')
        await asyncio.sleep(PAUSE)

def make_app(place, build, mode):
    channel = Channel(None if place == 'memory' else place)
    hdrs = Link(rel='icon', href='data:,'), *sse_headers()
    app, rt = fast_app(htmx4=build.startswith('4.'), hdrs=hdrs, secret_key='of no use')

    @rt('/')
    def index():
        if mode == 'text': return Pre(SSESource('/watch', id='source', hx_swap='beforeend'), id='answer')
        return Pre(id='answer'), SSESource('/watch', id='source')
    @rt('/watch')
    def watch(): return channel.watch('answer', lost=swap.append('Lost.', 'answer'))
    @rt('/start')
    async def start(fails: bool = False):
        run = await channel.run(answer(mode, fails), 'answer', text=mode == 'text', failed=swap.update('Sorry.', 'answer'))
        return run.state
    @rt('/cut')
    async def cut(): await channel.disconnect('answer')
    @rt('/stop')
    async def stop(): return str(await channel.stop('answer'))
    @rt('/state')
    async def state():
        with suppress(TimeoutError): return await asyncio.wait_for((await channel.run(answer(mode), 'answer')).wait(), 0.01)
        return 'running'
    @rt('/ok')
    def ok(): return 'ok'
    return app

if 'PLACE' in os.environ: app = make_app(os.environ['PLACE'], os.environ['BUILD'], os.environ['MODE'])
