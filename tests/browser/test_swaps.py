"Every swap, for every kind of element and of target, ends in the DOM that a pure model foretells."
import asyncio
from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from fasthtml.common import Div, NotStr, Script, Table, Tbody, Td, ft_hx

from fasthtml_sse import OOBStreamBuilder, sse, swap

from .live import connect, make_app

HTML, SVG = 'http://www.w3.org/1999/xhtml', 'http://www.w3.org/2000/svg'
MODES = dict(
    append='beforeend',
    prepend='afterbegin',
    before='beforebegin',
    after='afterend',
    update='innerHTML',
    replace='outerHTML',
    remove='delete',
    morph='outerMorph',
    morph_children='innerMorph',
)
KINDS = dict(div='div', tr='tbody', td='tr', li='ul', option='select', circle='svg')  # each with what it lives in
WAYS = ['swap', 'swap digits', 'swap class', 'swap tag', 'swap attribute', 'builder', 'builder class',
    'add_element', 'add_element digits', 'add_element colon', 'add_element unwrapped']
SHARED = {'class': 'class', 'tag': 'class', 'attribute': 'data-name'}  # what several targets have in common, where it is not the id of one


class Case(NamedTuple):
    "What is done, to which kind of element, and how the message is made."
    way: str
    action: str
    kind: str

    def __str__(self): return f'{self.action}-{self.kind}-{self.way.replace(" ", "-")}'

    @property
    def maker(self): return self.way.partition(' ')[0]

    @property
    def form(self): return self.way.partition(' ')[2]

    @property
    def inside(self): return self.action in ('append', 'prepend', 'update', 'morph_children')

    @property
    def in_place(self): return self.action in ('replace', 'morph')

    @property
    def boxes(self):
        "How many elements hold children, all of the same name."
        return 2 if self.form in SHARED else 1

    @property
    def name(self):
        "What the elements that hold the children are called."
        if self.form == 'digits': return str(CASES.index(self))
        return f'{self}:box' if self.form == 'colon' else str(self)

    @property
    def names(self): return [f'{self.name}-{n}' for n in range(3)]

    @property
    def named(self): return self.name if self.inside else self.names[1]

    @property
    def target(self):
        tag = KINDS[self.kind] if self.inside else self.kind
        forms = {'class': f'.{self.named}', 'tag': f'{tag}.{self.named}', 'attribute': f'[data-name="{self.named}"]'}
        return forms.get(self.form, self.named)

    @property
    def new_names(self):
        "The names of the elements in the message; one that goes in the place of another has none of its own."
        if self.in_place: return [None]
        new = [f'{self.name}-new-{n}' for n in range(1 if self.maker == 'add_element' else 2)]
        return {'remove': [], 'morph_children': [self.names[1], *new[1:]]}.get(self.action, new)

    def attrs(self, name): return {SHARED.get(self.form, 'id'): name} if name else {}


CASES = [case for way in WAYS for action in MODES for kind in KINDS
    if not ((case := Case(way, action, kind)).in_place and case.form == 'unwrapped')]  # in place there is no wrapper anyway


def element(case, name, text): return ft_hx(case.kind, Td(text) if case.kind == 'tr' else text, **case.attrs(name))


def holder(case, *kids, **attrs): return ft_hx(KINDS[case.kind], *kids, data_case=str(case), **attrs)


def box(case):
    "One of the parts of the page that belong to `case`."
    held = holder(case, *(element(case, name, name) for name in case.names), **case.attrs(case.name))
    return {'tr': Table(held), 'td': Table(Tbody(held))}.get(case.kind, held)


def new(case):
    "What the message brings."
    return [element(case, name, 'new') for name in case.new_names]


def act(actions, case):
    "Call the action of `case`, a function of `swap` or a method of the builder."
    content = new(case)
    if case.action == 'remove': return actions.remove(case.target)
    action = partial(actions.morph, children=True) if case.action == 'morph_children' else getattr(actions, case.action)
    return action(content[0] if case.in_place else content, case.target)


def added(case):
    "The same by `add_element`."
    content, wrap = new(case), case.form != 'unwrapped'
    held = (content or [''])[0] if wrap else holder(case, *content)
    return OOBStreamBuilder().add_element(held, case.target, MODES[case.action], wrap).build()


def messages():
    "One message for each case, and one for all cases of the builder together."
    builder = OOBStreamBuilder()
    for case in CASES:
        if case.maker == 'builder': act(builder, case)
        else: yield act(swap, case) if case.maker == 'swap' else added(case)
    yield builder.build()


def node(case, name, text, kept):
    "An element as `WATCH` sees it."
    kids = [['td', HTML, {}, kept, [text]]] if case.kind == 'tr' else [text]
    return [case.kind, SVG if case.kind == 'circle' else HTML, case.attrs(name), kept, kids]


def expected(case):
    "The children that each box has in the end; what morphs is the same as before where its name or, without an id, its place is."
    old, shared = [node(case, name, name, True) for name in case.names], case.form in SHARED
    names = [None if shared else case.named] if case.in_place else case.new_names
    kept = lambda name: case.action == 'morph' or case.action == 'morph_children' and (shared or name in case.names)
    came = [node(case, name, 'new', kept(name)) for name in names]
    first, middle, last = old
    children = dict(
        append=[*old, *came],
        prepend=[*came, *old],
        before=[first, *came, middle, last],
        after=[first, middle, *came, last],
        update=came,
        morph_children=came,
        replace=[first, *came, last],
        morph=[first, *came, last],
        remove=[first, last],
    )
    return children[case.action]


WATCH = '''
const pairs = node => [...node.attributes].map(a => [a.name, a.value])
const attributes = node => Object.fromEntries(pairs(node).filter(([name, value]) => name != 'class' || value))
const kids = (node, tree) => [...node.childNodes].map(kid => kid.nodeType == 1 ? tree(kid) : kid.data.trim()).filter(kid => kid !== '')
const inside = node => [node.localName, node.namespaceURI, attributes(node), node.wasHere === true, kids(node, inside)]
const boxes = () => [...document.querySelectorAll('[data-case]')].map(box => [box.dataset.case, kids(box, inside)])
const outside = node => [node.localName, node.namespaceURI, node.id, node.id == 'state' || node.dataset?.case ? [] : kids(node, outside)]
for (const node of document.querySelectorAll('[data-case] *')) node.wasHere = true
const before = outside(document.body), touched = []
new MutationObserver(changes => touched.push(changes)).observe(connect, {childList: true, subtree: true})
'''
SETTLED = 'state.textContent == "over" && !document.querySelector(".htmx-added, .htmx-settling, .htmx-swapping")'
SEEN = '({boxes: boxes(), before, after: outside(document.body), touched: touched.length, state: state.textContent})'


@pytest.fixture(scope='module')
def board(show, build):
    "What the page holds when all messages have come, or as far as they got."
    opened, sent = [], [*messages(), swap.update('over', 'state')]
    boxes = [box(case) for case in CASES for _ in range(case.boxes)]
    connection = connect('connect', '/messages', hx_trigger='load, every 5s')
    app = make_app(connection, Div(id='state'), *boxes, Script(NotStr(WATCH)), build=build)
    @app.get('/messages')
    @sse
    async def stream():
        opened.append(1)
        for message in sent: yield message
        await asyncio.Event().wait()
    with show(app) as page:
        page.wait_for_function(f'{SETTLED} || performance.now() > 25_000', timeout=30_000)
        seen = page.evaluate(SEEN)
    children = defaultdict(list)
    for case, kids in seen['boxes']: children[case].append(kids)
    return SimpleNamespace(**seen, children=children, opened=len(opened))


@pytest.mark.parametrize('case', CASES, ids=str)
def test_the_children_are_as_foretold(board, case):
    assert board.children[str(case)] == [expected(case)] * case.boxes


def test_nothing_is_left_elsewhere(board):
    assert board.after == board.before
    assert board.touched == 0
    assert [case for case, _ in board.boxes] == [str(case) for case in CASES for _ in range(case.boxes)]


def test_one_connection_brought_it_all(board):
    assert (board.opened, board.state) == (1, 'over')
