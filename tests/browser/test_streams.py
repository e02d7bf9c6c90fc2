"A stream in the page: it ticks, it ends, and what has ended stays ended."
import asyncio
from collections import Counter
from itertools import count
from threading import Event

from fasthtml.common import Div, Li, NotStr, Script, Ul

from fasthtml_sse import sse, swap

from .live import connect, make_app

RECORD = Script(NotStr('''
const ticks = [], closed = []
new MutationObserver(() => ticks.push(+clock.textContent)).observe(clock, {childList: true})
for (const name of ['htmx:sseClose', 'htmx-sse-close']) document.addEventListener(name, e => closed.push(e.target.id))
'''))


def test_a_clock_ticks_until_its_page_is_left(show, build):
    left = Event()
    app = make_app(connect('connect', '/clock', hx_trigger='load, every 5s'), Div(id='clock'), RECORD, build=build)
    @app.get('/clock')
    @sse
    async def ticking():
        try:
            for n in count(1):
                yield swap.update(n, 'clock')
                await asyncio.sleep(0.05)
        finally: left.set()
    with show(app) as page:
        page.wait_for_function('ticks.length >= 3')
        ticks = page.evaluate('ticks')
        assert not left.is_set()
        page.close()
        assert left.wait(5)
    assert ticks == list(range(1, len(ticks) + 1))


def test_a_finite_stream_that_says_so_is_requested_once_and_any_other_again(show, build):
    requests = Counter()
    impatient = dict(sse_close='close', hx_sse_close='close', hx_config='sse.reconnectDelay:50ms sse.reconnectJitter:0')
    app = make_app(connect('closing', '/closing', **impatient), Ul(id='closing-items'),
        connect('silent', '/silent', **impatient), Ul(id='silent-items'), Div(id='clock'), RECORD, build=build)
    def items(name):
        requests[name] += 1
        for n in range(3): yield swap.append(Li(n), f'{name}-items')
    @app.get('/closing')
    @sse(retry=50)
    def closing(): yield from items('closing')
    @app.get('/silent')
    @sse(retry=50, send_close_message=False)
    def silent():
        yield from items('silent')
        yield swap.update(requests['silent'], 'clock')
    with show(app) as page:
        page.wait_for_function('closed.includes("closing")')
        page.wait_for_function('seen => ticks.length >= seen + 5', arg=page.evaluate('ticks.length'))
        shown = page.evaluate('[...document.querySelectorAll("#closing-items > li")].map(li => li.textContent)')
        assert page.evaluate('closed') == ['closing']
        assert requests['silent'] >= 5
        assert requests['closing'] == 1
        assert shown == ['0', '1', '2']
