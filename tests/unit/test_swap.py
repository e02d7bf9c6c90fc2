"The markup of swaps and of OOBStreamBuilder; what browsers make of it is tested in tests/browser."
import pytest
from fasthtml.common import Div, Input, Li, NotStr, Option, P, Script, Span, Table, Tbody, Td, Th, Tr, to_xml
from fasthtml.svg import Circle

from fasthtml_sse import OOBStreamBuilder, SSEStream, StreamConfig, swap, to_event
from fasthtml_sse.core.event import FrameStr

html = lambda el: to_xml(el, indent=False)


class Row:
    def __ft__(self): return Tr(Td('row'), id='r')


@pytest.mark.parametrize('action, style', [
    ('append', 'beforeend'),
    ('prepend', 'afterbegin'),
    ('before', 'beforebegin'),
    ('after', 'afterend'),
    ('update', 'innerHTML'),
])
def test_content_travels_in_a_wrapper(action, style):
    assert html(getattr(swap, action)(P('x'), '#a')) == f'<div hx-swap-oob="{style}:#a"><p>x</p></div>'

WRAPPERS = {
    'tr': (Tr(Td('x')), '<table><tbody hx-swap-oob="beforeend:#a"><tr><td>x</td></tr></tbody></table>'),
    'td': (Td('x'), '<table><tbody><tr hx-swap-oob="beforeend:#a"><td>x</td></tr></tbody></table>'),
    'td, th': ((Th('h'), Td('x')), '<table><tbody><tr hx-swap-oob="beforeend:#a"><th>h</th><td>x</td></tr></tbody></table>'),
    'tbody': (Tbody(), '<table hx-swap-oob="beforeend:#a"><tbody></tbody></table>'),
    'col': (NotStr('<col>'), '<table><colgroup hx-swap-oob="beforeend:#a"><col></colgroup></table>'),
    'option': (Option('x'), '<select hx-swap-oob="beforeend:#a"><option>x</option></select>'),
    'li': ([Li('x'), Li('y')], '<ul hx-swap-oob="beforeend:#a"><li>x</li><li>y</li></ul>'),
    'circle': (NotStr('<circle r="1"/>'), '<svg hx-swap-oob="beforeend:#a"><circle r="1"/></svg>'),
    'text': ('a < b', '<div hx-swap-oob="beforeend:#a">a &lt; b</div>'),
    'text with a CR': (['\r\n', 'a<\r', FrameStr('<\r')], '<div hx-swap-oob="beforeend:#a">&#13;\na&lt;&#13;&lt;&#13;</div>'),
    'markup with a CR': (NotStr('<b>\r'), '<div hx-swap-oob="beforeend:#a"><b>\r</div>'),
    'markup': (NotStr('<tr><td>1'), '<table><tbody hx-swap-oob="beforeend:#a"><tr><td>1</tbody></table>'),
    '__ft__': (Row(), '<table><tbody hx-swap-oob="beforeend:#a"><tr id="r"><td>row</td></tr></tbody></table>'),
    'script beside': ((Tr(), Script('x')), '<table><tbody hx-swap-oob="beforeend:#a"><tr></tr><script>x</script></tbody></table>'),
    'void': (Input(name='x'), '<div hx-swap-oob="beforeend:#a"><input name="x"></div>'),
    'nothing': ((), '<div hx-swap-oob="beforeend:#a"></div>'),
}

@pytest.mark.parametrize('content, markup', WRAPPERS.values(), ids=WRAPPERS.keys())
def test_the_wrapper_suits_the_content(content, markup): assert html(swap.append(content, '#a')) == markup

@pytest.mark.parametrize('mixed', [
    (Tr(), Div()),
    (Td(), Tr()),
    ('text', Tr()),
    (Li(), P()),
    (Circle(1), Div()),
    NotStr('<tr></tr><p>'),
    [Option(), 'x'],
])
def test_content_of_mixed_kinds_is_refused(mixed):
    with pytest.raises(ValueError, match='content of mixed kinds'): swap.append(mixed, '#a')

@pytest.mark.parametrize('bad', [{'a': 1}, object(), [Div(), object()], len])
def test_what_is_no_content_is_refused(bad):
    with pytest.raises(TypeError): swap.append(bad, '#a')

def test_replace_marks_a_copy_within_its_parents():
    row = Tr(Td('x'), id='r')
    assert html(swap.replace(row, '#r')) == '<table><tbody><tr id="r" hx-swap-oob="outerHTML:#r"><td>x</td></tr></tbody></table>'
    assert html(swap.replace(Row(), '#r')) == '<table><tbody><tr id="r" hx-swap-oob="outerHTML:#r"><td>row</td></tr></tbody></table>'
    assert html(row) == '<tr id="r"><td>x</td></tr>'

def test_a_replacement_without_an_id_takes_over_that_of_its_target():
    assert html(swap.replace(Div('x'), '#a')) == '<div id="a" hx-swap-oob="outerHTML:#a">x</div>'
    assert html(swap.replace(Div('x', id='b'), '#a')) == '<div id="b" hx-swap-oob="outerHTML:#a">x</div>'
    assert html(swap.replace(Div('x'), '5')) == """<div id="5" hx-swap-oob='outerHTML:[id="5"]'>x</div>"""
    assert html(swap.replace(Div('x'), '.c')) == '<div hx-swap-oob="outerHTML:.c">x</div>'

@pytest.mark.parametrize('bad', ['text', NotStr('<p>x</p>'), (Div(), Div()), [P(), P()], None])
def test_a_replacement_is_one_element(bad):
    with pytest.raises(TypeError, match='cannot carry hx-swap-oob: pass one element'): swap.replace(bad, '#a')

def test_remove_and_morph():
    assert html(swap.remove('.spinner')) == '<div hx-swap-oob="delete:.spinner"></div>'
    assert html(swap.morph(Div('x', id='a'), '#a')) == '<div id="a" hx-swap-oob="outerMorph:#a">x</div>'
    assert html(swap.morph([Li('x')], '#a', children=True)) == '<ul hx-swap-oob="innerMorph:#a"><li>x</li></ul>'

def test_a_list_is_bounded():
    assert html(swap.append([Li(1), Li(2)], '#a', keep=9)) == '<ul hx-swap-oob="beforeend:#a" sse-keep="9"><li>1</li><li>2</li></ul>'
    row = '<table><tbody hx-swap-oob="beforeend:#a" sse-upsert="" sse-keep="9"><tr id="r"><td>x</td></tr></tbody></table>'
    assert html(swap.upsert(Tr(Td('x'), id='r'), '#a', keep=9)) == row

@pytest.mark.parametrize('keep', [0, -1, True, 1.5, '9'])
def test_other_bounds_are_refused(keep):
    with pytest.raises(ValueError, match='keep must be a whole number of children'): swap.append(Li(1), '#a', keep)
    with pytest.raises(ValueError, match='keep must be a whole number of children'): swap.upsert(Li(1, id='b'), '#a', keep)

def test_an_upsert_is_one_element_with_an_id():
    assert html(swap.upsert(Li('x', id='b'), 'a')) == '<ul hx-swap-oob="beforeend:#a" sse-upsert=""><li id="b">x</li></ul>'
    with pytest.raises(ValueError, match='upsert finds an element again by its id'): swap.upsert(Li('x'), 'a')
    for bad in ('text', [Li(id='b'), Li(id='c')]):
        with pytest.raises(TypeError, match='pass one element'): swap.upsert(bad, 'a')

def test_a_refresh_names_nothing(): assert html(swap.refresh()) == '<div hx-swap-oob="none:body" sse-refresh=""></div>'

@pytest.mark.parametrize('target, selector', [
    ('#a', '#a'),
    ('a', '#a'),
    ('a-b_c', '#a-b_c'),
    ('#ä', '#ä'),
    ('5', '[id="5"]'),
    ('#5', '[id="5"]'),
    ('-5', '[id="-5"]'),
    ('--', '[id="--"]'),
    ('.c', '.c'),
    ('tr.c', 'tr.c'),
    ('[data-x="a-b"]', '[data-x="a-b"]'),
    ('[id="a.b/c@d"]', '[id="a.b/c@d"]'),
])
def test_targets_that_every_htmx_reads_alike(target, selector): assert swap.selector(target) == selector

@pytest.mark.parametrize('bad', [
    '',
    ' ',
    '#',
    '.',
    '#a b',
    '#a > b',
    'a b',
    '#a,#b',
    'a:hover',
    '#a:not(.b)',
    '.a.b',
    '#a.b',
    '*',
    '[a]',
    '[a=b]',
    "[a='b']",
    '[a="b c"]',
    '[a="b:c"]',
    '[a="b"]x',
    'a\n',
    '#a\n',
    '.5',
    'a/b',
    '<div>',
    None,
    5,
    '[a="\\""]',
    'tr.c.d',
    '#a#b',
])
def test_other_targets_are_refused(bad):
    with pytest.raises(ValueError, match='cannot target') as e: swap.append('x', bad)
    assert repr(bad) in str(e.value) and '.class' in str(e.value)


# OOBStreamBuilder

build = lambda *args, **kw: html(OOBStreamBuilder().add_element(*args, **kw).build())

def test_a_new_builder_is_empty():
    b = OOBStreamBuilder()
    assert b.elements == [] and b.build() == ''

@pytest.mark.parametrize('bad', [{'a': 1}, object(), len])
def test_without_a_target_too_only_content_is_added(bad):
    with pytest.raises(TypeError, match='is no HTML content'): OOBStreamBuilder().add_element(bad)

def test_without_a_target_an_element_is_added_as_it_is():
    el = Div('x')
    assert OOBStreamBuilder().add_element(el).build() is el
    assert build('a < b') == 'a &lt; b' and build(NotStr('<b>')) == '<b>' and build(Row()) == '<tr id="r"><td>row</td></tr>'

def test_a_wrapper_carries_the_target():
    assert build(P('x'), 'a') == '<div id="a" hx-swap-oob="innerHTML"><p>x</p></div>'
    assert build(Tr(), '#a', 'beforeend') == '<table><tbody id="a" hx-swap-oob="beforeend"><tr></tr></tbody></table>'
    assert build(Circle(1), 'a', 'afterbegin').startswith('<svg id="a" hx-swap-oob="afterbegin"><circle')

def test_outer_html_and_unwrapped_elements_carry_it_themselves():
    assert build(Span('x'), 'a', 'outerHTML') == '<span id="a" hx-swap-oob="outerHTML">x</span>'
    assert build(Span('x'), 'a', wrap=False) == '<span id="a" hx-swap-oob="true">x</span>'
    assert build(Span('x'), 'a', 'beforeend', False) == '<span id="a" hx-swap-oob="beforeend">x</span>'
    assert build(Td('x'), 'a', 'outerHTML') == '<table><tbody><tr><td id="a" hx-swap-oob="outerHTML">x</td></tr></tbody></table>'

def test_the_callers_element_is_never_changed():
    el = Div('x')
    OOBStreamBuilder().add_element(el, 'a', 'outerHTML').add_element(el, 'b').replace(el, '#c').morph(el, '#d')
    assert html(el) == '<div>x</div>'

def test_an_element_with_another_id_is_refused():
    with pytest.raises(ValueError, match="the element has the id 'b' and would not replace 'a'"): build(Div(id='b'), 'a', 'outerHTML')
    with pytest.raises(ValueError, match="has the id 'b'"): build(Div(id='b'), 'a', wrap=False)
    with pytest.raises(ValueError, match="has the id 'r'"): build(Row(), 'a', 'outerHTML')
    with pytest.raises(ValueError, match="has the id 'b'"): build([Div(id='b')], 'a', 'outerHTML')
    assert build(Div(id=5), '5', 'outerHTML') == '<div id="5" hx-swap-oob="outerHTML"></div>'
    assert build(Div(id='a'), 'a', 'outerHTML') == '<div id="a" hx-swap-oob="outerHTML"></div>'

@pytest.mark.parametrize('bad', ['text', {'a': 1}, NotStr('<p>'), 5])
def test_what_cannot_carry_attributes_is_refused(bad):
    with pytest.raises(TypeError): build(bad, 'a', 'outerHTML')
    with pytest.raises(TypeError): build(bad, 'a', wrap=False)

@pytest.mark.parametrize('mode', ['before', 'inner', 'innerhtml', 'textContent', '', None, 'beforeend:#x'])
def test_unknown_modes_are_refused(mode):
    with pytest.raises(ValueError, match='unknown swap_mode'): build(P(), 'a', mode)

@pytest.mark.parametrize('target', ['', '#', 'a b', 5, ' a', 'a\n'])
def test_an_impossible_target_is_refused(target):
    with pytest.raises(ValueError, match='target_id'): build(P(), target)

def test_add_elements_takes_tuples_and_bare_elements():
    b = OOBStreamBuilder().add_elements([
        P('a'),
        (P('b'),),
        (P('c'), 'c'),
        (P('d'), 'd', 'beforeend'),
        (P('e'), 'e', 'innerHTML', False),
        'abcd',
    ])
    assert [html(e) for e in b.elements[:5]] == [
        '<p>a</p>',
        '<p>b</p>',
        '<div id="c" hx-swap-oob="innerHTML"><p>c</p></div>',
        '<div id="d" hx-swap-oob="beforeend"><p>d</p></div>',
        '<p id="e" hx-swap-oob="true">e</p>',
    ]
    assert b.elements[5] == 'abcd' and html(b.build()).endswith('abcd')
    with pytest.raises(TypeError, match='takes a list'): b.add_elements('abcd')
    with pytest.raises(TypeError, match='takes a list'): b.add_elements(P('x'))
    with pytest.raises(ValueError, match='expected .element, target_id'): b.add_elements([(P(), 'a', 'beforeend', True, 1)])

def test_several_elements_are_one_without_a_tag():
    b = OOBStreamBuilder().append(Li(1), '#a').remove('#b').add_element('text')
    built = b.build()
    assert list(built.children) == b.elements
    assert html(built) == '<ul hx-swap-oob="beforeend:#a"><li>1</li></ul><div hx-swap-oob="delete:#b"></div>text'
    assert b.clear() is b and b.elements == [] and b.build() == '' and len(built.children) == 3

def test_every_method_but_build_returns_the_builder():
    b = OOBStreamBuilder()
    calls = [
        b.add_element(P()),
        b.add_elements([]),
        b.append(P(), 'a', keep=1),
        b.upsert(P(id='b'), 'a', keep=1),
        b.refresh(),
        b.prepend(P(), 'a'),
        b.before(P(), 'a'),
        b.after(P(), 'a'),
        b.update(P(), 'a'),
        b.replace(P(), 'a'),
        b.remove('a'),
        b.morph(P(), 'a'),
        b.morph(P(), 'a', children=True),
        b.clear(),
    ]
    assert all(c is b for c in calls)

@pytest.mark.anyio
async def test_what_is_built_is_encoded_once():
    bare = SSEStream(StreamConfig(send_initial_message=False, send_close_message=False))
    one, two = OOBStreamBuilder().remove('#a'), OOBStreamBuilder().remove('#a').remove('#b')
    got = [f async for f in bare.stream([one.build(), two.build()])]
    gone = '<div hx-swap-oob="delete:#{}"></div>'.format
    assert got == [f'data: {gone("a")}\n\n', f'data: {gone("a")}{gone("b")}\n\n']
    assert to_event(two.build()).data == gone('a') + gone('b')

def test_a_table_in_a_div_is_no_row():
    assert html(swap.append(Table(Tr()), '#a')).startswith('<div hx-swap-oob')
