"Every swap, for every kind of element, ends in the DOM that a pure model foretells."
import asyncio
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from fasthtml.common import Div, NotStr, Script, Table, Tbody, Td, ft_hx

from fasthtml_sse import OOBStreamBuilder, sse, swap

from .live import connect, make_app

HTML, SVG = 'http://www.w3.org/1999/xhtml', 'http://www.w3.org/2000/svg'
MODES = dict(append='beforeend', prepend='afterbegin', before='beforebegin', after='afterend', update='innerHTML', replace='outerHTML', remove='delete')
KINDS = dict(div='div', tr='tbody', td='tr', li='ul', option='select', circle='svg')  # each with what it lives in
WAYS = ['swap', 'swap digits', 'builder', 'add_element', 'add_element digits', 'add_element colon']


class Case(NamedTuple):
    "What is done, to which kind of element, and how the message is made."
    way: str
    action: str
    kind: str

    def __str__(self): return f'{self.action}-{self.kind}-{self.way.replace(" ", "-")}'

    @property
    def box(self):
        "The id of the element that holds the children."
        if self.way.endswith('digits'): return str(CASES.index(self))
        return f'{self}:box' if self.way.endswith('colon') else str(self)

    @property
    def ids(self): return [f'{self.box}-{n}' for n in range(3)]

    @property
    def target(self): return self.box if self.action in ('append', 'prepend', 'update') else self.ids[1]

    @property
    def new_ids(self):
        "The ids of the elements in the message; one that replaces has none of its own."
        if self.action in ('replace', 'remove'): return [None] if self.action == 'replace' else []
        return [f'{self.box}-new-{n}' for n in range(1 if self.way.startswith('add_element') else 2)]


CASES = [Case(way, action, kind) for way in WAYS for action in MODES for kind in KINDS]


def element(kind, id, text): return ft_hx(kind, Td(text) if kind == 'tr' else text, id=id)


def box(case):
    "The part of the page that belongs to `case`."
    holder = ft_hx(KINDS[case.kind], *(element(case.kind, id, id) for id in case.ids), id=case.box, data_case=True)
    return {'tr': Table(holder), 'td': Table(Tbody(holder))}.get(case.kind, holder)


def new(case):
    "What the message brings."
    return [element(case.kind, id, 'new') for id in case.new_ids]


def act(actions, case):
    "Call the action of `case`, a function of `swap` or a method of the builder."
    action, content = getattr(actions, case.action), new(case)
    if case.action == 'remove': return action(case.target)
    return action(content[0] if case.action == 'replace' else content, case.target)


def added(case):
    "The same by `add_element`."
    content = new(case)
    return OOBStreamBuilder().add_element(content[0] if content else '', case.target, MODES[case.action]).build()


def messages():
    "One message for each case, and one for all cases of the builder together."
    builder = OOBStreamBuilder()
    for case in CASES:
        if case.way == 'builder': act(builder, case)
        else: yield act(swap, case) if case.way.startswith('swap') else added(case)
    yield builder.build()


def node(kind, id, text):
    "An element as `WATCH` sees it."
    kids = [['td', HTML, '', [text]]] if kind == 'tr' else [text]
    return [kind, SVG if kind == 'circle' else HTML, id, kids]


def expected(case):
    "The children that the box has in the end."
    old, came = [node(case.kind, id, id) for id in case.ids], [node(case.kind, id or case.target, 'new') for id in case.new_ids]
    first, middle, last = old
    return dict(append=[*old, *came], prepend=[*came, *old], before=[first, *came, middle, last], after=[first, middle, *came, last],
        update=came, replace=[first, *came, last], remove=[first, last])[case.action]


WATCH = '''
const tree = (node, deep) => node.nodeType != 1 ? node.data.trim()
    : [node.localName, node.namespaceURI, node.id, deep(node) ? [...node.childNodes].map(n => tree(n, deep)).filter(n => n !== '') : []]
const boxes = () => [...document.querySelectorAll('[data-case]')].map(box => [box.id, tree(box, () => true)[3]])
const around = () => tree(document.body, node => node.id != 'state' && node.dataset?.case === undefined)
const before = around(), touched = []
new MutationObserver(changes => touched.push(changes)).observe(connect, {childList: true, subtree: true})
'''
SEEN = '({boxes: boxes(), before, after: around(), touched: touched.length, state: state.textContent})'


@pytest.fixture(scope='module')
def board(show, build):
    "What the page holds when all messages have come, or as far as they got."
    opened = []
    app = make_app(connect('connect', '/messages', hx_trigger='load, every 5s'), Div(id='state'), *map(box, CASES),
        Script(NotStr(WATCH)), build=build)
    @app.get('/messages')
    @sse
    async def stream():
        opened.append(1)
        for message in messages(): yield message
        yield swap.update('over', 'state')
        await asyncio.Event().wait()
    with show(app) as page:
        page.wait_for_function('state.textContent == "over" || performance.now() > 8000')
        seen = page.evaluate(SEEN)
    return SimpleNamespace(**seen, opened=len(opened))


@pytest.mark.parametrize('case', CASES, ids=str)
def test_the_children_are_as_foretold(board, case):
    assert dict(board.boxes)[case.box] == expected(case)


def test_nothing_is_left_elsewhere(board):
    assert board.after == board.before
    assert board.touched == 0
    assert [id for id, _ in board.boxes] == [case.box for case in CASES]


def test_one_connection_brought_it_all(board):
    assert (board.opened, board.state) == (1, 'over')
