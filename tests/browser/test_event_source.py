"The browser's own parser receives the text that was sent, and nothing else."
from fasthtml_sse import sse

from .live import make_app

AWKWARD = ['', ' ', '\n', '\r', '\r\n', '\n\n', 'a\nb', 'a\rb', 'a\r\nb', 'a\n\rb', 'a\r\n\r\nb', '\nx\n', 'x\r', ' one space', '  two spaces', '\ttab', 'end ',
    ': a comment?', ':', 'data: x', 'data', 'id: 7', 'retry: 1', 'event: admin', 'x\n\nevent: admin\ndata: forged', 'x\r\revent: admin\rdata: forged',
    'x\r\n\r\nevent: admin\r\ndata: forged\r\n\r\n', 'x\u2028\u2028event: admin', 'line\u2028separator', 'paragraph\u2029separator', 'next\x85line',
    'tab\x0bfeed\x0cfile\x1cgroup\x1drecord\x1e', 'nul\0nul', '\0', '\ufeffmark', 'naïve 🎉 👩‍👩‍👧 e\u0301', '\U0010ffff', '</script><b>&amp;', 'x' * 100_000]

LISTEN = '''names => {
    const source = new EventSource('/awkward')
    window.seen = []
    for (const name of names) source.addEventListener(name, e => seen.push([name, e.data ?? null, e.lastEventId ?? null]))
    source.addEventListener('close', () => { source.close(); window.over = true })
}'''


def test_awkward_text_arrives_as_it_was_sent(show):
    app = make_app()
    @app.get('/awkward')
    @sse
    def awkward(): yield from AWKWARD
    with show(app) as page:
        page.evaluate(LISTEN, ['message', 'admin', 'error', 'close'])
        page.wait_for_function('window.over')
        seen = page.evaluate('seen')
    data = [text.replace('\r\n', '\n').replace('\r', '\n') for text in AWKWARD]
    assert seen == [*(['message', text, ''] for text in data), ['close', 'Connection closed', '']]
