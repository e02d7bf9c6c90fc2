"The tags of a page and the route of its script."
import pytest
from fasthtml.common import APIRouter, Client, FastHTML, fast_app, to_xml
from starlette.applications import Starlette
from starlette.datastructures import URL

from fasthtml_sse import ConnectionStatus, SSESource, sse_headers, sse_script


def html(element): return to_xml(element, indent=False).strip()


# Headers

def test_inline_or_by_address():
    inline, style = sse_headers()
    by_address, same_style = sse_headers(src='/own/s.js')
    assert 'customElements.define' in html(inline) and html(style) == html(same_style)
    assert html(by_address).startswith('<script src="/own/s.js?v=') and 'customElements' not in html(by_address)

@pytest.mark.parametrize('morph', [True, '/idiomorph.js'])
def test_morph_brings_nothing_more(morph):
    assert [html(tag) for tag in sse_headers(morph=morph)] == [html(tag) for tag in sse_headers()]
    assert 'var Idiomorph' in html(sse_headers()[0])

def test_the_script_of_a_page_is_not_cut_short():
    text = html(sse_headers()[0])
    assert text.count('</script') == 1 and '<!--' not in text and '\0' not in text


# The script's route

def app_with(path='/sse_source.js'):
    app, _ = fast_app(secret_key='of no use')
    sse_script(app, path)
    return app

def test_the_script_is_served_as_the_page_names_it():
    client, tags = Client(app_with()), sse_headers(src='/sse_source.js')
    answer = client.get(str(tags[0].src))
    assert answer.status_code == 200 and answer.headers['content-type'] == 'text/javascript; charset=utf-8'
    assert answer.headers['cache-control'] == 'public, max-age=31536000, immutable'
    assert answer.text == str(sse_headers()[0].children[0])

def test_other_versions_are_asked_for_again():
    client = Client(app_with('/own/s.js'))
    for path in ('/own/s.js', '/own/s.js?v=old'):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers['cache-control'] == 'no-cache'
    again = client.get('/own/s.js', headers={'if-none-match': answer.headers['etag']})
    assert again.status_code == 304 and not again.content

def test_any_app_of_starlette_serves_it():
    app = Starlette()
    sse_script(app)
    assert Client(app).get('/sse_source.js').status_code == 200

def test_a_bad_path_is_refused():
    with pytest.raises(ValueError, match="path must begin with '/'"): sse_script(FastHTML(secret_key='of no use'), 'sse_source.js')


# Elements

def test_a_source_takes_an_address_or_a_route():
    app, rt = fast_app(secret_key='of no use')
    rooms = APIRouter('/rooms')
    @rt('/events')
    def events(): ...
    @rooms('/{room}/events')
    def room_events(room: str): ...
    assert html(SSESource(events)) == '<sse-source src="/events"></sse-source>'
    assert html(SSESource(room_events.to(room='tea'))) == '<sse-source src="/rooms/tea/events"></sse-source>'
    assert html(SSESource(URL('/x?a=1'))) == '<sse-source src="/x?a=1"></sse-source>'
    with pytest.raises(ValueError, match='needs its parameters'): SSESource(room_events)

def test_the_attributes_of_a_source():
    assert html(SSESource('/e', after='7', shared=True, id='s', cls='c', hx_swap='beforeend')) == \
        '<sse-source src="/e" after="7" shared hx-swap="beforeend" id="s" class="c"></sse-source>'
    assert 'shared="user 7"' in html(SSESource('/e', shared='user 7')) and 'shared' not in html(SSESource('/e', shared=False))
    assert 'after=""' not in html(SSESource('/e', after=None))
    assert html(SSESource('/e', credentials=True, login='/login')) == '<sse-source src="/e" credentials login="/login"></sse-source>'

@pytest.mark.parametrize('bad, error', [
    (dict(url=None), TypeError),
    (dict(url=''), TypeError),
    (dict(url=7), TypeError),
    (dict(url=len), TypeError),
    (dict(url='/e', after=7), TypeError),
    (dict(url='/e', shared=7), TypeError),
    (dict(url='/e', shared=''), ValueError),
    (dict(url='/e', credentials='yes'), TypeError),
    (dict(url='/e', login=''), TypeError),
    (dict(url='/e', login='/login/{user}'), ValueError),
])
def test_bad_sources_are_refused(bad, error):
    with pytest.raises(error): SSESource(**bad)

def test_the_status():
    assert html(ConnectionStatus()) == '<sse-status role="status" class="sse-status"></sse-status>'
    assert html(ConnectionStatus('#chat', cls='small', live='Da')) == \
        '<sse-status of="chat" role="status" live="Da" class="sse-status small"></sse-status>'

@pytest.mark.parametrize('bad', ['', '#', 7])
def test_a_status_of_nothing_is_refused(bad):
    with pytest.raises(TypeError, match='of must be the id'): ConnectionStatus(bad)
