"Text arrives in the page as exactly the characters that it is: the pieces of an answer, or what somebody has typed."
from fasthtml.common import Div, I, P

from fasthtml_sse import OOBStreamBuilder, SSESource, sse, swap

from .pages import page_app

BLANK = [' ', '   ', '\t', ' a', 'a ', '  a  b  ', '', '\xa0', '\u3000', '\x0b', '\x0c', '\x1c',
    '\x85', '\u2028', '\u2029', '\ufeff', '\ufeffa']
BREAKS = ['\n', '\n\n', '\na', 'a\n', '\r\n', '\r', '\ra', 'a\r', 'a\r\nb\rc\n\rd']
MARKUP = [
    '<', '>', '&', '&amp;', '&lt;b&gt;', '&#13;', '"', "'", '<b>', '</div>', '</p></template>', '</body>', '<!--', ']]>', '<![CDATA[', '<?',
    '<script>window.ran = 1</script>', '<img src="x:" onerror="window.ran = 1">', '<head><title>no</title></head>', '<table><td>',
    'hx-swap-oob="x"', '<p hx-swap-oob="beforeend:#other">x</p>', '<hx-partial hx-target="#other">x</hx-partial>', '<i sse-refresh></i>']
FIELDS = ['data: x', 'event: close', ': x', 'id: 9', '\n\nevent: close\ndata: x\n\n', '{"a": 1}', '[1]', '${x}', '{{x}}', '\\n', '%0A']
OTHERS = ['\U0001f600', '\U0001f468\u200d\U0001f469', 'e\u0301', '\u202eabc', '\ufffd', '\uffff', 'x' * 70_000]
PIECES = [*BLANK, *BREAKS, *MARKUP, *FIELDS, *OTHERS]

ACTIONS = dict(
    append=swap.append,
    update=swap.update,
    morph=lambda piece, target: swap.morph(piece, target, children=True),
    all=lambda piece, target: swap.append(piece, '#all'),
    builder=lambda piece, target: OOBStreamBuilder().add_element(piece, target, 'beforeend').build())
APART = {action: [f'{action}-{n}' for n in range(len(PIECES))] for action in ACTIONS}
OVER = 'document.querySelectorAll("i.over").length == 2'
READ = 'ids => ids.map(id => { const e = document.getElementById(id); return e.childElementCount ? e.outerHTML : e.textContent })'


def test_text_arrives_as_it_was_sent(visit, build):
    "In an element for each piece, all pieces in one element, and in the page element itself."
    app, rt = page_app(build)
    @rt('/')
    def get():
        boxes = [P(id=id) for ids in APART.values() for id in ids]
        return *boxes, P(id='all'), Div(id='other'), Div(id='over'), SSESource(swaps), Div(SSESource(text, hx_swap='beforeend', id='text'))
    @rt
    @sse
    def swaps():
        for n, piece in enumerate(PIECES):
            for action, act in ACTIONS.items(): yield act(piece, APART[action][n])
        yield swap.append(I(cls='over'), '#over')
    @rt
    @sse(text=True)
    def text():
        yield from PIECES
        yield I(cls='over')
    with visit(app, build) as page:
        page.wait_for_function(OVER)
        page.evaluate('document.querySelector("#text > i").remove()')  # an element that was yielded among the text
        for action in ('append', 'update', 'builder'): assert page.evaluate(READ, APART[action]) == PIECES
        # htmx gets a message with a morph as a browser writes it, without character references
        assert page.evaluate(READ, APART['morph']) == [piece.replace('\r\n', '\n').replace('\r', '\n') for piece in PIECES]
        assert page.evaluate(READ, ['all', 'text', 'other']) == [''.join(PIECES), ''.join(PIECES), '']
        assert page.evaluate('[window.ran, document.title]') == [None, 'FastHTML page']


def test_what_html_cannot_hold_is_left_out(visit, build):
    "A NUL, and nothing else."
    app, rt = page_app(build)
    @rt('/')
    def get(): return Div(SSESource(text, hx_swap='beforeend', id='text')), P(id='box')
    @rt
    @sse(text=True)
    def text():
        yield 'a\0b'
        yield swap.append('c\0d', 'box')
        yield I(cls='over')
    with visit(app, build) as page:
        page.wait_for_selector('i.over', state='attached')
        assert page.evaluate(READ, ['box']) == ['cd']
        assert page.evaluate('document.getElementById("text").textContent') == 'ab'
