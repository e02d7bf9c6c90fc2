"The wire format: what WHATWG HTML §9.2 says, and that it survives any text and any cut."
import json
from dataclasses import dataclass
from datetime import date
from enum import Enum
from html import unescape

import pytest
from fasthtml.common import Div, Li, NotStr, P, Pre, to_xml
from hypothesis import given, strategies as st

from fasthtml_sse import Entry, EventParser, Frame, Gap, ServerSentEvent, to_event
from fasthtml_sse.core.event import FrameStr, as_text, to_frame, to_html

text = st.text(st.characters(exclude_categories=['Cs']), max_size=40)
lines = st.text(st.sampled_from('ab :\r\n\t\x00\x0b\x0c\x1c\x85\u2028\u2029\ufeffé😀'), max_size=40)
one_line = text.filter(lambda s: not set(s) & set('\r\n\0'))


def parse(raw): return [(e.event, e.data, e.id) for e in EventParser().feed(raw)]


# The stream, and the (event, data, id) of what is dispatched
WHATWG = {
    'two lines of data': (b'data: YHOO\ndata: +2\ndata: 10\n\n', [(None, 'YHOO\n+2\n10', None)]),
    'comment, id, reset id, leading space': (
        b': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
        [(None, 'first event', '1'), (None, 'second event', ''), (None, ' third event', '')],
    ),
    'empty data dispatches, an unfinished block does not': (b'data\n\ndata\ndata\n\ndata:', [(None, '', None), (None, '\n', None)]),
    'one space after the colon is not data': (b'data:test\n\ndata: test\n\n', [(None, 'test', None)] * 2),
    'an event without data is none': (b'event: add\n\n', []),
    'a name counts for its own block': (b'event: add\ndata: 1\n\ndata: 2\n\n', [('add', '1', None), (None, '2', None)]),
    'the last of several names': (b'event: a\nevent: b\ndata: 1\n\n', [('b', '1', None)]),
    'an empty name is none': (b'event: a\nevent:\ndata: 1\n\n', [(None, '1', None)]),
    'the id stays in force': (b'id: 7\ndata: 1\n\ndata: 2\n\n', [(None, '1', '7'), (None, '2', '7')]),
    'an id with NUL is ignored': (b'id: 7\ndata: 1\n\nid: 8\x00\ndata: 2\n\n', [(None, '1', '7'), (None, '2', '7')]),
    'an id without data counts': (b'id: 7\n\ndata: 1\n\n', [(None, '1', '7')]),
    'CRLF': (b'data: 1\r\ndata: 2\r\n\r\n', [(None, '1\n2', None)]),
    'CR': (b'data: 1\rdata: 2\r\r', [(None, '1\n2', None)]),
    'mixed line ends': (b'data: 1\r\ndata: 2\rdata: 3\n\r\n', [(None, '1\n2\n3', None)]),
    'a BOM at the start': (b'\xef\xbb\xbfdata: 1\n\n', [(None, '1', None)]),
    'only one BOM': (b'\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n', []),
    'a BOM elsewhere is text': (b'data: \xef\xbb\xbf1\n\n', [(None, '\ufeff1', None)]),
    'unknown fields': (b'datas: 1\nDATA: 2\n data: 3\ndata: 4\n\n', [(None, '4', None)]),
    'a colon in the value': (b'data: a: b\n\n', [(None, 'a: b', None)]),
    'no line end but these': ('data: a\u2028b\x85c\x0bd\x0ce\x1cf\n\n'.encode(), [(None, 'a\u2028b\x85c\x0bd\x0ce\x1cf', None)]),
    'broken UTF-8 is replaced': (b'data: a\xffb\n\n', [(None, 'a\ufffdb', None)]),
    'NUL in data and names': (b'event: a\x00\ndata: \x00\n\n', [('a\x00', '\x00', None)]),
    'nothing': (b'', []),
}


@pytest.mark.parametrize('raw, events', WHATWG.values(), ids=WHATWG.keys())
def test_parses_as_whatwg_says(raw, events): assert parse(raw) == events


@pytest.mark.parametrize('value, retry', [
    ('1500', 1500),
    ('0', 0),
    ('', None),
    ('-1', None),
    ('1.5', None),
    ('1e3', None),
    ('٣', None),
    ('9' * 5000, None),
])
def test_retry_takes_ascii_digits_only(value, retry):
    parser = EventParser()
    parser.feed(f'retry: {value}\n\n'.encode())
    assert parser.retry == retry


def test_the_id_of_an_unfinished_block_does_not_count():
    parser = EventParser()
    parser.feed(b'id: 1\ndata: x\n\nid: 2\ndata: cut o')
    assert parser.last_event_id == '1'


def test_a_carriage_return_ends_its_line_at_once():
    parser = EventParser()
    assert [e.data for e in parser.feed(b'data: 1\r\r')] == ['1']
    assert [e.data for e in parser.feed(b'\ndata: 2\n\n')] == ['2']


@pytest.mark.parametrize('cut', range(20))
def test_a_line_end_may_be_cut_anywhere(cut):
    raw, parser = b'data: a\r\ndata: b\r\n\r\n', EventParser()
    assert [e.data for part in (raw[:cut], raw[cut:]) for e in parser.feed(part)] == ['a\nb']

@given(st.lists(st.sampled_from([r for r, _ in WHATWG.values()])), st.data())
def test_any_chunking_parses_the_same(streams, data):
    raw = b''.join(streams)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)))))
    parser, events = EventParser(), []
    for a, b in zip([0, *cuts], [*cuts, len(raw)]): events += parser.feed(raw[a:b])
    assert events == EventParser().feed(raw)


@given(st.one_of(text, lines), st.none() | one_line, st.none() | one_line, st.none() | st.integers(0, 10**9), st.none() | lines)
def test_any_text_comes_back_and_starts_nothing(data, event, id, retry, comment):
    parser, text = EventParser(), data.replace('\r\n', '\n').replace('\r', '\n')
    sent = ServerSentEvent(data, event=event, id=id, retry=retry, comment=comment), ServerSentEvent('sentinel')
    events = parser.feed(b''.join(each.encode() for each in sent))
    assert [(e.event, e.data, e.id) for e in events] == [(event or None, text, id), (None, 'sentinel', id)]
    assert parser.retry == retry


@given(st.one_of(text, lines))
def test_the_short_way_to_a_frame_gives_the_same(data): assert to_frame(data) == to_event(data).encode() == to_frame(ServerSentEvent(data))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
                    lambda c: st.lists(c) | st.dictionaries(text, c)).map(lambda v: {'value': v}))
def test_json_comes_back(value): assert json.loads(EventParser().feed(to_frame(value))[0].data) == value


def test_empty_data_is_dispatched_and_no_data_is_not():
    assert parse(ServerSentEvent('', event='close').encode()) == [('close', '', None)]
    assert parse(ServerSentEvent(None, event='close').encode()) == []
    assert to_event('') == ServerSentEvent('')


@pytest.mark.parametrize('field', ['event', 'id'])
@pytest.mark.parametrize('bad', ['a\nb', 'a\rb', 'a\0b', '\n'])
def test_a_name_that_could_start_a_field_is_refused(field, bad):
    with pytest.raises(ValueError, match=field) as e: ServerSentEvent('x', **{field: bad})
    assert repr(bad) in str(e.value)


@pytest.mark.parametrize('retry', [-1, 1.5, '5', True, float('nan')])
def test_a_retry_that_is_no_whole_number_is_refused(retry):
    with pytest.raises(ValueError, match='retry') as e: ServerSentEvent('x', retry=retry)
    assert repr(retry) in str(e.value)


@pytest.mark.parametrize('field', ['data', 'event', 'id', 'comment'])
def test_a_lone_surrogate_is_refused_by_name(field):
    with pytest.raises(ValueError, match=f'{field} holds a lone surrogate'): ServerSentEvent(**{field: 'a\ud800'})
    with pytest.raises(ValueError, match='data holds a lone surrogate'): to_frame('a\ud800')


@pytest.mark.parametrize('field', ['data', 'event', 'id', 'comment'])
def test_a_field_of_another_type_is_refused(field):
    with pytest.raises(TypeError, match=f'{field} must be a str, not int'): ServerSentEvent(**{field: 5})


def test_an_event_is_frozen_and_compares():
    assert ServerSentEvent('x', id='1') == ServerSentEvent('x', id='1') != ServerSentEvent('x')
    with pytest.raises(AttributeError): ServerSentEvent('x').data = 'y'


class Kind(str, Enum): UPDATE = 'update'


def test_a_str_enum_is_written_by_its_value():
    assert str(ServerSentEvent(Kind.UPDATE, event=Kind.UPDATE, id=Kind.UPDATE)) == 'id: update\nevent: update\ndata: update\n\n'
    assert to_event(Kind.UPDATE).data == 'update' and to_event([Kind.UPDATE, Div()]).data == 'update<div></div>'


@dataclass
class Row:
    id: int
    when: date


KINDS = [
    ('a\nb', 'a\nb'),
    (b'caf\xc3\xa9', 'café'),
    (bytearray(b'x'), 'x'),
    (5, '5'),
    (2.5, '2.5'),
    (True, 'true'),
    (date(2026, 1, 2), '"2026-01-02"'),
    ({'a': [1, None]}, '{"a": [1, null]}'),
    ([1, 'é'], '[1, "é"]'),
    ((1, 2), '[1, 2]'),
    (Row(1, date(2026, 1, 2)), '{"id": 1, "when": "2026-01-02"}'),
    ([Row(1, date(2026, 1, 2))], '[{"id": 1, "when": "2026-01-02"}]'),
    (Div('a < b'), '<div>a &lt; b</div>'),
    ((Li(1), Li(2)), '<li>1</li><li>2</li>'),
    ([[P('deep')], 'a<b'], '<p>deep</p>a&lt;b'),
    (NotStr('<b>x</b>'), '<b>x</b>'),
    (Pre('a\n  b'), '<pre>a\n  b</pre>'),
]


@pytest.mark.parametrize('value, data', KINDS, ids=lambda v: repr(v)[:20])
def test_each_kind_of_value_has_one_form(value, data): assert to_event(value) == ServerSentEvent(data)


class Card:
    def __ft__(self): return Div('card')
class Wrapped:
    def __ft__(self): return Card()
class Html:
    def __html__(self): return '<i>html</i>'


def test_objects_that_render_themselves_do_so():
    assert to_event(Card()).data == to_event(Wrapped()).data == '<div>card</div>'
    assert to_event([Html(), Card()]).data == '<i>html</i><div>card</div>'


def test_what_is_written_already_passes_untouched():
    frame = Frame(b': odd\ndata: x\n\n')
    assert to_event(frame) is frame and to_frame(frame) is frame and to_event(None) is None and to_frame(None) is None
    assert to_event(FrameStr('data: x\n\n')) == Frame(b'data: x\n\n')
    event = ServerSentEvent('x', id='1')
    assert to_event(event) is event


def test_a_name_is_added_but_never_changed():
    assert to_event('x', event='a') == ServerSentEvent('x', event='a') == to_event(ServerSentEvent('x'), event='a')
    with pytest.raises(ValueError, match="called 'b' already"): to_event(ServerSentEvent('x', event='b'), event='a')
    with pytest.raises(ValueError, match='a Frame'): to_event(Frame(b'data: x\n\n'), event='a')


@pytest.mark.parametrize('value', [
    object(),
    {1},
    Row,
    len,
    iter([]),
    {'a': object()},
    {'a': Div()},
    [Div(), {'a': 1}],
    (i for i in 'a'),
    3j,
])
def test_what_cannot_be_told_is_refused_by_type(value):
    with pytest.raises(TypeError): to_event(value)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), {'a': float('nan')}, b'\xff'])
def test_what_no_browser_could_read_is_refused(value):
    with pytest.raises(ValueError, match='data'): to_event(value)

class Word(str): pass

@given(lines | text)
def test_text_is_escaped_as_in_an_element(value):
    escaped = as_text(value)
    assert escaped == as_text(Word(value)) == to_html(value) and type(as_text(Word(value))) is str
    assert to_xml(P(value), indent=False) == f'<p>{escaped.replace("&#13;", chr(13))}</p>'
    assert '\r' not in escaped and unescape(escaped) == unescape(escaped.replace('&#13;', '\r')) == value

@pytest.mark.parametrize('value', [
    None, 7, b'<b>', ['<b>'], {'a': '<b>'}, P('<b>'), (P(), '<b>'), NotStr('<b>'), to_xml(P('<b>')), Card(), Html(),
    FrameStr('data: <b>\n\n'), Frame(b'data: <b>\n\n'), ServerSentEvent('<b>'), Entry('7', 'a', Frame(b'data: <b>\n\n'))
])
def test_what_is_no_text_is_not_escaped(value): assert as_text(value) is value

def test_several_events_are_not_the_data_of_one():
    inside_a_dict, written = {'events': [ServerSentEvent('a')]}, [FrameStr('data: x\n\n')]
    for value in ([ServerSentEvent('a'), ServerSentEvent('b')], (Frame(b'data: x\n\n'),), inside_a_dict, written):
        with pytest.raises(TypeError, match='several events are not the data of one: send each by itself'): to_event(value)

def test_what_a_channel_gives_may_be_sent_on():
    entry, gap = Entry('7', 'a', Frame(b'id: 7\ndata: x\n\n')), Gap('3', '9')
    assert to_event(entry) is to_frame(entry) is entry.frame
    event, = EventParser().feed(to_frame(gap))
    assert (event.event, event.data, event.id) == ('gap', '{"after": "3"}', '9')

def test_the_pieces_of_a_long_line_are_joined_once():
    "So that a large event takes time that grows with its size, and not with the square of it."
    parser = EventParser()
    parser.feed(b'data: ')
    for _ in range(1000): parser.feed(b'x' * 100)
    assert max(map(len, parser._rest)) == 100
    event, = parser.feed(b'\n\n')
    assert event.data == 'x' * 100_000
