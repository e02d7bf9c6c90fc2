"The gallery as a program: it serves, it publishes from a script, and it stops."
import os, re, runpy, signal, socket, subprocess, sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from examples import script
from examples.gallery import app
from fasthtml_sse import Channel, SQLiteLog, tokens
from fasthtml_sse.testing import open_stream
from tests.support import ROOT
from tests.support.gallery import page, position
from tests.support.models import Model


@pytest.fixture
async def news(anyio_backend, tmp_path, monkeypatch):
    "A channel over a file of this test."
    monkeypatch.setattr(script, 'news', Channel(SQLiteLog(tmp_path/script.FILE.name)))
    yield script.news
    await script.news.aclose()


def run_script(folder, *words):
    "What a terminal does whose temporary files are in `folder`."
    command, env = [sys.executable, '-m', 'examples.script', *words], os.environ | {'TMPDIR': str(folder)}
    subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=30)


@pytest.mark.anyio
async def test_a_page_shows_what_a_script_publishes_also_while_nobody_serves(news, tmp_path):
    html = page('/script/')
    for part in ('examples.script', 'id="lines"', 'role="log"', '<sse-source src="/script/events"', '<details'): assert part in html
    async with open_stream(app, '/script/events', last_event_id=position(html)) as s:
        run_script(tmp_path, 'Hello', '<b>there</b>')
        first = await s.next(timeout=5)
    assert '<span>Hello &lt;b&gt;there&lt;/b&gt;</span>' in first.data and 'hx-swap-oob="beforeend:#lines"' in first.data
    await news.aclose()
    run_script(tmp_path)
    script.news = Channel(SQLiteLog(tmp_path/script.FILE.name))
    async with open_stream(app, '/script/events', last_event_id=first.id) as s:
        assert '<span>Hello</span>' in (await s.next(timeout=5)).data


@pytest.mark.parametrize('sig, code', [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 0)], ids=['SIGTERM', 'Ctrl-C'])
def test_the_gallery_prints_its_address_serves_there_and_stops_at_once_with_a_stream_open_and_its_table_removed(sig, code, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != 'PORT'} | {'PYTHONPATH': str(ROOT), 'TMPDIR': str(tmp_path)}
    run = [sys.executable, '-m', 'examples']
    with subprocess.Popen(run, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = re.fullmatch(r'Gallery: (http://127\.0\.0\.1:\d+)\n', process.stdout.readline())[1]
            server = HTTPConnection(urlsplit(address).netloc, timeout=10)
            server.request('GET', '/')
            assert (answer := server.getresponse()).status == 200 and b'Clock' in answer.read()
            server.request('GET', '/clock/ticks')
            stream = server.getresponse()
            assert stream.readline() == b': Connected\n' and [*tmp_path.glob('*/todo.db')]
            process.send_signal(sig)
            assert process.wait(timeout=2) == code
            assert b'retry: ' in stream.read()
            server.close()
            assert process.stderr.read() == ''
        finally: process.kill()
    assert not [path for path in tmp_path.iterdir() if not path.match(script.FILE.name + '*')]


def test_a_port_that_is_taken_is_named():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        command, env = [sys.executable, '-m', 'examples'], os.environ | {'PORT': port}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and done.stderr.startswith(f'Cannot listen on port {port}')


@pytest.mark.anyio
@pytest.mark.parametrize('provider, path', [('OPENAI', '/v1/chat/completions'), ('ANTHROPIC', '/v1/messages')])
async def test_a_key_brings_a_real_model(provider, path, monkeypatch):
    with Model('Hello', ' there') as model:
        for name in ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY'): monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f'{provider}_API_KEY', 'none')
        monkeypatch.setenv(f'{provider}_BASE_URL', model.url + '/v1' * (provider == 'OPENAI'))
        monkeypatch.setenv('MODEL', 'a model')
        made = runpy.run_path(str(ROOT/'examples'/'model.py'))
        said = [dict(role='user', content='Hi')]
        assert ''.join([piece async for piece in tokens(made['ask'](said))]) == 'Hello there'
        await made['client'].close()
    call, = model.calls
    assert call.path == path and call.body['messages'] == said and call.body['model'] == 'a model'
