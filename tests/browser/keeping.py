"Pages with fields that somebody has filled in, and what may then happen to them."
from __future__ import annotations

from fasthtml.common import *

from fasthtml_sse import Channel, MemoryLog, SSESource, swap

from .pages import page_app, until_state

# A field in a page, by name: its markup, and what somebody makes of it
TYPED = dict(
    text='Ada', search='engine', email='ada@x.org', url='http://x.org', tel='12', password='secret', number='7', date='2026-11-30',
    time='12:30', month='2026-11', week='2026-W10', range='70', color='#ff0000', **{'datetime-local': '2026-11-30T12:30'})


def fields(named: bool) -> list:
    "One of each kind, with names and ids or without."
    def attrs(kind: str) -> dict: return dict(name=kind, id=f'the-{kind}') if named else {}
    return [
        *(Input(type=kind, **attrs(kind)) for kind in TYPED),
        Input(type='checkbox', value='a', **attrs('a')),
        Input(type='checkbox', value='b', checked=True, **attrs('b')),
        Input(type='radio', value='1', name='choice', checked=True),
        Input(type='radio', value='2', name='choice'),
        Input(type='file', **attrs('file')),
        Textarea('old text', **attrs('textarea')),
        Select(Option('x'), Option('y', selected=True), Option('z'), **attrs('select')),
        Select(Option('x'), Option('y', selected=True), Option('z'), multiple=True, **attrs('multiple')),
        Div('draft', contenteditable='true', **attrs('contenteditable')),
    ]


FILL = f'''() => {{
    const typed = {TYPED!r}
    for (const [type, value] of Object.entries(typed)) document.querySelector(`[type=${{type}}]`).value = value
    const [a, b] = document.querySelectorAll('[type=checkbox]'), [, two] = document.querySelectorAll('[type=radio]')
    const files = new DataTransfer()
    a.checked = true; b.checked = false; two.checked = true
    files.items.add(new File(['x'], 'x.txt'))
    document.querySelector('[type=file]').files = files.files
    document.querySelector('textarea').value = 'new text'
    const [one, many] = document.querySelectorAll('select')
    one.value = 'z'
    for (const option of many.options) option.selected = option.value != 'y'
}}'''
LOOK = '''() => [...document.querySelectorAll('input:not([type=hidden]), textarea, select, [contenteditable]')].map(f => [f.type ?? 'draft',
    f.files ? [...f.files].map(file => file.name).join() : f.type == 'checkbox' || f.type == 'radio' ? f.checked :
    f.options ? [...f.selectedOptions].map(option => option.value).join() : f.value ?? f.innerText])'''
FILLED = [
    *map(list, TYPED.items()), ['checkbox', True], ['checkbox', False], ['radio', False], ['radio', True], ['file', 'x.txt'],
    ['textarea', 'new text'], ['select-one', 'z'], ['select-multiple', 'x,z'], ['draft', 'draft, longer']]


class Pages:
    "An app whose page has one box, which is rendered anew each time, and a stream that may change it in four ways."
    WAYS = 'morph', 'refresh', 'gap', 'snapshot'

    def __init__(self, build: str, render, make=page_app):
        self.channel, self.version, self.render = Channel(MemoryLog(maxlen=2)), 0, render
        self.app, rt = make(build)
        @self.app.get('/events')
        def events(): return self.channel.response('', snapshot=self.snapshot)
        self.snapshot = None
        @rt('/')
        async def index():
            return Title(self.version), self.box(), SSESource('/events', after=await self.channel.tail(), id='source')

    def box(self): return Div(P(f'version {self.version}', cls='version'), *self.render(self.version), id='box')

    def change(self, page, way: str) -> None:
        "Bring a new version to the page in that way, and wait until it is there."
        until_state(page, 'live')
        self.version += 1
        if way == 'morph': self.channel.publish_sync(swap.morph(self.box(), '#box'))
        elif way == 'refresh': self.channel.publish_sync(swap.refresh())
        else:
            self.snapshot = (lambda: swap.morph(self.box(), '#box')) if way == 'snapshot' else None
            page.context.site.stop()
            until_state(page, 'reconnecting')
            for _ in range(4): self.channel.publish_sync('of no use', event='other')
            page.context.site.start()
        page.wait_for_function('n => document.querySelector(".version").textContent == `version ${n}`', arg=self.version)
        until_state(page, 'live')
