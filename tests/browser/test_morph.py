"A morph keeps the elements that are there: the same nodes, with the focus and with what was typed into them."
from queue import SimpleQueue

import pytest
from fasthtml.common import Div, Input, Label, Table, Tbody, Td, Textarea, Tr

from fasthtml_sse import OOBStreamBuilder, sse, swap

from .live import connect, make_app

FIELDS = dict(input=lambda value: Input(id='field', value=value), textarea=lambda value: Textarea(value, id='field'))
FORMS = dict(div=lambda *parts: Div(*parts, id='form'), tr=lambda *parts: Tr(*map(Td, parts), id='form'))
WAYS = dict(
    swap=lambda form: swap.morph(form, 'form'),
    swap_children=lambda form: swap.morph(form.children, 'form', children=True),
    builder=lambda form: OOBStreamBuilder().morph(form, 'form').build(),
    builder_children=lambda form: OOBStreamBuilder().morph(form.children, 'form', children=True).build(),
    add_element=lambda form: OOBStreamBuilder().add_element(form, 'form', 'outerMorph').build(),
    add_element_children=lambda form: OOBStreamBuilder().add_element(form.children, 'form', 'innerMorph').build(),
    add_element_unwrapped=lambda form: OOBStreamBuilder().add_element(form, 'form', 'innerMorph', wrap=False).build())
LOOK = '''({label: label.textContent, same: field.isTheSame === true, focused: document.activeElement === field, value: field.value,
    caret: field.selectionStart})'''


class Live:
    "A page, what is sent to it, and a person who types there."
    def __init__(self): self.queues, self.sent = [], 0

    def stream(self):
        "What is to be shown from now on."
        self.queues.append(queue := SimpleQueue())
        yield swap.update('connected', 'state')
        yield from iter(queue.get, None)

    def show(self, *messages):
        "Send `messages` and wait until the page has taken them in."
        self.sent += 1
        for message in (*messages, swap.update(self.sent, 'state')): self.queues[-1].put(message)
        self.page.wait_for_function('sent => state.textContent == sent', arg=self.sent)

    def type(self, text):
        "Type into the field, and go one step back there."
        self.page.focus('#field')
        self.page.evaluate('field.isTheSame = true')
        self.page.keyboard.type(text)
        self.page.keyboard.press('ArrowLeft')


@pytest.fixture(scope='module')
def live(show, build):
    live = Live()
    app = make_app(connect('connect', '/messages', hx_trigger='load, every 5s'), Div(id='state'), Div(id='place'), build=build)
    app.get('/messages')(sse(live.stream))
    try:
        with show(app) as live.page:
            live.page.wait_for_function('state.textContent == "connected"')
            yield live
    finally:
        for queue in live.queues: queue.put(None)


@pytest.fixture(params=FIELDS.values(), ids=FIELDS.keys())
def field(request): return request.param


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def typed(request, live, field):
    "`typed(way)`: what the page shows when someone has typed into a form, and the form has come anew that way."
    def form(label, value): return request.param(Label(label, id='label'), field(value))
    def look(way):
        old = form('old', '')
        # First without any: for a while htmx gives new elements the attributes, so the value too, of old ones with the same id
        live.show(swap.update('', 'place'), swap.update(Table(Tbody(old)) if old.tag == 'tr' else old, 'place'))
        live.type('typed')
        live.show(way(form('new', 'sent')))
        return live.page.evaluate(LOOK)
    return look


@pytest.mark.parametrize('way', WAYS.values(), ids=WAYS.keys())
def test_what_was_typed_and_the_focus_survive_a_morph(typed, way):
    assert typed(way) == dict(label='new', same=True, focused=True, value='typed', caret=4)


def test_they_do_not_survive_a_replacement(typed):
    seen = typed(lambda form: swap.replace(form, 'form'))
    assert (seen['label'], seen['same']) == ('new', False)
    assert seen['value'] != 'typed'
