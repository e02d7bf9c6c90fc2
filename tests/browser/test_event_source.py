"The browser's own parser receives what was sent and nothing else, and ours, here and in the page, read any bytes as it does."
import asyncio, json, re
from html import escape
from itertools import pairwise

import pytest
from fasthtml.common import Div
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from starlette.responses import StreamingResponse

from fasthtml_sse import EventParser, ServerSentEvent, sse, sse_headers
from fasthtml_sse.core.event import to_frame

from .live import make_app

AWKWARD = [
    '', ' ', '\n', '\r', '\r\n', '\n\n',
    'a\nb', 'a\rb', 'a\r\nb', 'a\n\rb', 'a\r\n\r\nb', '\nx\n', 'x\r',
    ' one space', '  two spaces', '\ttab', 'end ',
    ': a comment?', ':', 'data: x', 'data', 'id: 7', 'retry: 1', 'event: admin',
    'x\n\nevent: admin\ndata: forged', 'x\r\revent: admin\rdata: forged', 'x\r\n\r\nevent: admin\r\ndata: forged\r\n\r\n',
    'x\u2028\u2028event: admin', 'line\u2028separator', 'paragraph\u2029separator', 'next\x85line',
    'tab\x0bfeed\x0cfile\x1cgroup\x1drecord\x1e', 'nul\0nul', '\0', '\ufeffmark',
    'naïve 🎉 👩‍👩‍👧 e\u0301', '\U0010ffff', '</script><b>&amp;', 'x' * 100_000,
]

# An `error` that is no MessageEvent is the browser's own, which says that the stream has ended
RECEIVE = '''([url, names]) => new Promise(done => {
    const source = new EventSource(url), seen = []
    const heard = event => {
        if (event instanceof MessageEvent) {
            seen.push([event.type, event.data, event.lastEventId])
            fetch('/arrived', {method: 'POST'})
        } else if (event.type == 'error') {
            source.close()
            done(seen)
        }
    }
    for (const name of new Set(['message', 'error', ...names])) source.addEventListener(name, heard)
})'''


# The same of our element, whose messages go to htmx. Here `close` is an event like others, and no network joins the chunks
LISTEN = '''([url, names, chunks]) => new Promise(done => {
    const source = document.createElement('sse-source'), seen = []
    const heard = (...event) => seen.push(event)
    const body = () => new ReadableStream({start(queue) {
        for (const chunk of chunks) queue.enqueue(Uint8Array.from(chunk))
        queue.close()
    }})
    window.ask ??= window.fetch
    window.fetch = chunks.length ? async () => new Response(body(), {headers: {'content-type': 'text/event-stream'}}) : window.ask
    window.htmx = {version: '4', swap: ({text}) => heard('message', text, source.getAttribute('after') ?? '')}
    source.close = () => {}
    const listen = name => source.addEventListener('sse:' + name, ({detail}) => 'data' in detail && heard(name, detail.data, detail.id))
    new Set(names).forEach(listen)
    source.addEventListener('sse:status', ({detail}) => {
        if (!detail.state?.endsWith('connecting') || !source.wasLive) return source.wasLive = detail.state == 'live'
        source.remove()
        done(seen)
    })
    source.setAttribute('src', url)
    document.body.append(source)
})'''


class Wire:
    "Sends chunks of bytes, and after each waits until the browser has dispatched the events that the chunk completes."
    def __init__(self): self.chunks, self.arrived = [], asyncio.Semaphore(0)

    async def send(self):
        self.arrived, parser = asyncio.Semaphore(0), EventParser()
        for chunk in self.chunks:
            yield chunk
            for _ in parser.feed(chunk):
                try: await asyncio.wait_for(self.arrived.acquire(), 3)
                except TimeoutError: return


@pytest.fixture(scope='module', params=[RECEIVE, LISTEN], ids=['EventSource', 'sse-source'])
def receive(show, request):
    "`receive(chunks, names)` gives the type, data and last id of the events so called that an `EventSource` or our element dispatches."
    app, wire = make_app(), Wire()
    @app.get('/stream')
    async def stream(): return StreamingResponse(wire.send(), media_type='text/event-stream')
    @app.get('/awkward')
    @sse
    def awkward(): yield from AWKWARD
    @app.post('/arrived')
    async def arrived(): wire.arrived.release()
    with show(app) as page:
        page.add_script_tag(content=str(sse_headers()[0].children[0]))
        def receive(chunks, names, url='/stream'):
            wire.chunks = chunks
            return page.evaluate(request.param, [url, names, [[*chunk] for chunk in chunks]])
        receive.page = page
        yield receive


def parsed(chunks):
    "The same as our parser says it."
    parser = EventParser()
    return [[event.event or 'message', event.data, event.id or ''] for chunk in chunks for event in parser.feed(chunk)]


def normal(text): return text.replace('\r\n', '\n').replace('\r', '\n')


def expected(events):
    "The same for what was encoded: an event without data is none, and an id holds until there is another."
    id = ''
    for event in events:
        id = id if event.id is None else event.id
        if event.data is not None: yield [event.event or 'message', normal(event.data), id]


def test_awkward_text_arrives_as_it_was_sent(receive):
    seen = receive([], ['admin', 'close'], '/awkward')
    assert seen == [*(['message', normal(text), ''] for text in AWKWARD), ['close', 'Connection closed', '']]


def test_a_line_end_may_be_cut_anywhere(receive):
    raw = b'data: a\r\ndata: b\r\n\r\n'
    for cut in range(1, len(raw)):
        assert receive([raw[:cut], raw[cut:] + OVER.encode()], ['over']) == [['message', 'a\nb', ''], ['over', 'over', '']]


letters = dict(exclude_categories=['Cs'])
text = st.text(st.characters(**letters)) | st.text('ab :\r\n\t\0\x0b\x0c\x1c\x85\u2028\u2029\ufeffé😀') | st.sampled_from(AWKWARD[:-1])
line = st.text(st.characters(**letters, exclude_characters='\r\n\0'), max_size=8)
name = st.sampled_from(['message', 'error', 'open', 'close', 'data', ' ', 'a:b', '\ufeff']) | line
events = st.builds(ServerSentEvent, st.none() | text, event=st.none() | name, id=st.none() | st.sampled_from(['', '7']) | line,
    retry=st.none() | st.integers(0, 2**70), comment=st.none() | text)
OVER = ServerSentEvent('over', event='over')  # ends every example, so that none passes because nothing came
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
few, many_more = settings(unhurried, max_examples=50), settings(unhurried, max_examples=150)


def check_events(receive, sent):
    sent = [*sent, OVER]
    frames = [event.encode() for event in sent]
    seen = receive(frames, [event.event for event in sent if event.event])
    assert seen == list(expected(sent))
    assert parsed(frames) == seen

any_events = given(sent=st.lists(events))

@few
@any_events
def test_any_events_arrive_as_they_were_sent(receive, sent): check_events(receive, sent)

@pytest.mark.full
@many_more
@any_events
def test_many_events_arrive_as_they_were_sent(receive, sent): check_events(receive, sent)


def as_json(value): return value, json.dumps(value, ensure_ascii=False)


CR = '\r'

def as_html(text):
    inner = escape(text, quote=False)
    return (text, Div(text)), f"{inner.replace(CR, '&#13;')}<div>{inner}</div>"


flat = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
nested = st.recursive(flat, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)
jsons = nested.filter(lambda value: not isinstance(value, str | None))
values = text.map(lambda text: (text, text)) | jsons.map(as_json) | text.map(as_html)  # each with its data


def check_values(receive, sent):
    frames = [to_frame(value) for value, _ in [*sent, (OVER, None)]]
    seen = receive(frames, ['over'])
    assert seen == [*(['message', normal(told), ''] for _, told in sent), ['over', 'over', '']]
    assert parsed(frames) == seen

any_values = given(sent=st.lists(values))

@few
@any_values
def test_any_value_arrives_as_it_is_written(receive, sent): check_values(receive, sent)

@pytest.mark.full
@many_more
@any_values
def test_many_values_arrive_as_they_are_written(receive, sent): check_values(receive, sent)


words = [b'data', b'id', b'event', b':', b' ', b'\r', b'\n', b'\0', b'7', b'open', b'error', *map(str.encode, 'é\u2028\ufeff😀')]
no_text = [b'\xef\xbb', b'\xf0\x9f', b'\xc3', b'\x80', b'\xff', b'\xed\xa0\x80', b'\xc0\x80', b'\xf4\x90\x80\x80']
scraps = st.sampled_from(words + no_text)
ends = st.sampled_from([b'\r', b'\n', b'\r\n'])
names = [b'data', b'data:', b'data: ', b'id:', b'id', b'id: ', b'event: ', b'event:', b'event']
starts = st.sampled_from([*names, b'retry:', b':', b'\xef\xbb\xbfdata:', b'Data:'])


def joined(*parts): return st.tuples(*parts).map(b''.join)


def many(parts, **sizes): return st.lists(parts, **sizes).map(b''.join)


fields = joined(starts, many(scraps, max_size=3), ends)
blocks = joined(many(fields | joined(st.just(b'data:'), many(scraps), ends) | scraps, min_size=1), ends)


@st.composite
def streams(draw):
    "Fields, line ends and scraps of both, cut anywhere."
    raw = draw(joined(st.sampled_from([b'', b'\xef\xbb\xbf', b'\xef\xbb']), many(blocks), many(scraps))) + b'\n\n' + OVER.encode()
    assume(not re.match(b'\xef\xbb\xbf[\r\n]', raw))  # Chromium takes a line end right after the mark for a part of the next line
    cuts = draw(st.lists(st.integers(0, len(raw))).map(sorted))
    return [raw[a:b] for a, b in pairwise([0, *cuts, len(raw)])]


# How many characters the script has looked at for line ends
SCANNED = """() => {
    const split = String.prototype.split
    window.scanned = 0
    String.prototype.split = function (...args) { window.scanned += this.length; return split.apply(this, args) }
}"""

def test_an_event_in_many_pieces_is_looked_at_once(receive):
    raw = ServerSentEvent('x' * 200_000).encode() + OVER.encode()
    chunks = [raw[at:at + 1000] for at in range(0, len(raw), 1000)]
    receive.page.evaluate(SCANNED)
    assert parsed(chunks) == receive(chunks, ['over'])
    assert receive.page.evaluate('scanned') < 2 * len(raw)


def possible_names(raw):
    "Whatever could be the name of an event."
    return [line.partition(':')[2].removeprefix(' ') for line in re.split('[\r\n]', raw.decode(errors='replace'))]


def check_bytes(receive, chunks): assert parsed(chunks) == receive(chunks, possible_names(b''.join(chunks)))

any_bytes = given(chunks=streams())

@settings(unhurried, max_examples=50)
@any_bytes
def test_any_bytes_are_parsed_as_by_the_browser(receive, chunks): check_bytes(receive, chunks)

@pytest.mark.full
@many_more
@any_bytes
def test_many_bytes_are_parsed_as_by_the_browser(receive, chunks): check_bytes(receive, chunks)
