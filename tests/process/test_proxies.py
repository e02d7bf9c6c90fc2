"Streams behind a real nginx and a real Caddy, which are configured as the how-to pages say."
import ast, asyncio, itertools, json, os, shutil, socket, ssl, subprocess, time
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager

import httpx2 as httpx
import pytest
from fastcore.net import free_port

from fasthtml_sse import EventParser
from tests.support import ROOT
from tests.support.redis import redis
from tests.support.serving import HOST, START, Reader, fetch, over_httpx, serving, uvicorn

pytestmark = pytest.mark.anyio
ONE, TWO = (ROOT/f'nbs/how-to/{name}.ipynb' for name in ('proxies', 'machines'))  # servers behind the proxy
HOSTS = {ONE: ['127.0.0.1:8000'], TWO: ['10.0.0.11:8000', '10.0.0.12:8000']}
AT_ONCE = 1  # seconds; a proxy that holds back until it has 4 KiB holds our stamps for ten
NGINX_LOCAL = ' '.join(f'{name}_temp_path temp;' for name in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')) + ' access_log off;'
CADDY_LOCAL = '{\n admin off\n local_certs\n skip_install_trust\n auto_https disable_redirects\n default_bind 127.0.0.1\n}\n'


def configuration(page, name, app_ports):
    "The text that the page assigns to `name`, with our ports."
    for cell in json.loads(page.read_text())['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and source.startswith(f'{name} = '):
            ours = {host: f'{HOST}:{port}' for host, port in zip(HOSTS[page], app_ports, strict=True)}
            return replaced(ast.literal_eval(ast.parse(source).body[0].value), **ours)
    raise LookupError(f'{page.name} has no cell that assigns {name}')


def replaced(text, **parts):
    "`text` with each of the parts replaced."
    for old, new in parts.items():
        assert old in text, f'{old} is not in the configuration'
        text = text.replace(old, new)
    return text


def program(name):
    "Where the program is; Debian keeps nginx where only root looks."
    path = shutil.which(name, path=os.environ['PATH'] + ':/usr/sbin')
    return path or pytest.skip(f"{name} was not found: install Debian's package {name}")


def trusting():
    "Takes any certificate."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def has_certificate(port):
    "Whether a TLS handshake succeeds: Caddy listens before it has what that takes."
    try:
        with socket.create_connection((HOST, port), timeout=5) as plain:
            with trusting().wrap_socket(plain, server_hostname='localhost'): return True
    except OSError: return False


@contextmanager
def running(folder, port, *command):
    "A proxy that runs until the block is left."
    log, env = folder/'proxy.log', os.environ | dict.fromkeys(('HOME', 'XDG_DATA_HOME', 'XDG_CONFIG_HOME'), str(folder))
    with log.open('wb') as out: process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env)
    try:
        ends = time.monotonic() + START
        while not has_certificate(port):
            if process.poll() is not None or time.monotonic() > ends: pytest.fail(log.read_text())
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try: process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def nginx(folder, port, page, app_ports, extra=''):
    key = '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', folder/'key.pem', '-out', folder/'cert.pem'
    subprocess.run([program('openssl'), 'req', '-x509', '-days', '2', '-subj', '/CN=localhost', *key], check=True, capture_output=True)
    ours = {
        'listen 443': f'listen {HOST}:{port}',
        '/etc/ssl/example.org.pem': 'cert.pem',
        '/etc/ssl/example.org.key': 'key.pem',
        'http {': f'http {{ {NGINX_LOCAL} {extra}',
    }
    (folder/'nginx.conf').write_text(replaced(configuration(page, 'nginx_conf', app_ports), **ours))
    options = '-p', str(folder), '-c', 'nginx.conf', '-e', 'stderr', '-g', 'daemon off; master_process off; pid nginx.pid;'
    return running(folder, port, program('nginx'), *options)


def caddy(folder, port, page, app_ports, extra=''):
    conf = replaced(configuration(page, 'caddyfile', app_ports), **{'example.org': f'localhost:{port}'})
    (folder/'Caddyfile').write_text(CADDY_LOCAL + conf.replace('{', '{\n' + extra, 1))
    return running(folder, port, program('caddy'), 'run', '--config', 'Caddyfile', '--adapter', 'caddyfile')


PROXIES = {'nginx': nginx, 'caddy': caddy}


@asynccontextmanager
async def proxied(tmp_path, proxy, http2=False, extra=''):
    "The app behind a proxy, and a client with one connection to that."
    port = free_port(HOST)
    async with serving(tmp_path, *uvicorn(app='proxied')) as server:
        with PROXIES[proxy](tmp_path, port, ONE, [server.port], extra):
            async with client_of(port, http2) as client: yield server, client


def client_of(port, http2=False):
    limits = httpx.Limits(max_connections=1 if http2 else None)
    return httpx.AsyncClient(base_url=f'https://localhost:{port}', http2=http2, verify=trusting(), timeout=10, limits=limits)


async def events(response):
    parser = EventParser()
    async for chunk in response.aiter_bytes():
        for event in parser.feed(chunk): yield event


async def delays(response, count=5):
    "For how long each of the first stamps was on its way, in seconds."
    async with aclosing(events(response)) as stamps, asyncio.timeout(AT_ONCE * 5):
        return [time.monotonic() - float((await anext(stamps)).data) for _ in range(count)]


@pytest.mark.parametrize('http2', [False, True], ids=['http1', 'http2'])
@pytest.mark.parametrize('proxy', PROXIES)
async def test_each_event_arrives_at_once(tmp_path, proxy, http2):
    async with proxied(tmp_path, proxy, http2) as (_, client), client.stream('GET', '/stamps') as response:
        assert (response.status_code, response.http_version) == (200, 'HTTP/2' if http2 else 'HTTP/1.1')
        assert max(await delays(response)) < AT_ONCE


@pytest.mark.full
async def test_nginx_holds_back_what_is_not_marked(tmp_path):
    async with proxied(tmp_path, 'nginx') as (_, client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(AT_ONCE * 1.5), client.stream('GET', '/unmarked') as response: await delays(response)


@pytest.mark.parametrize('proxy, extra, encoding', [
    ('nginx', 'gzip on; gzip_types text/event-stream;', 'gzip'),
    ('caddy', 'encode gzip\n', None),
])
async def test_compression_holds_nothing_back(tmp_path, proxy, extra, encoding):
    async with proxied(tmp_path, proxy, extra=extra) as (_, client):
        async with client.stream('GET', '/stamps', headers={'accept-encoding': 'gzip'}) as response:
            assert response.headers.get('content-encoding') == encoding
            assert max(await delays(response)) < AT_ONCE


async def test_heartbeats_keep_a_silent_stream_alive(tmp_path):
    async with proxied(tmp_path, 'nginx', extra='proxy_read_timeout 1s;') as (_, client):
        async with client.stream('GET', '/beating') as response:
            async with aclosing(response.aiter_bytes()) as chunks, asyncio.timeout(10):
                beats = 0
                while beats < 6: beats += (await anext(chunks)).count(b': heartbeat')
        opened = time.monotonic()
        async with client.stream('GET', '/silent') as response:
            with pytest.raises(httpx.RemoteProtocolError): await response.aread()
        assert time.monotonic() - opened < 5


@pytest.mark.parametrize('proxy', PROXIES)
async def test_a_client_that_leaves_the_proxy_is_noticed(tmp_path, proxy):
    async with proxied(tmp_path, proxy) as (server, client):
        async with client.stream('GET', '/silent') as response, aclosing(events(response)) as silent: await anext(silent)
        left = time.monotonic()
        noted, = await server.until_noted('finally')
        assert noted - left < AT_ONCE


@pytest.mark.parametrize('proxy', PROXIES)
async def test_one_connection_carries_many_streams(tmp_path, proxy):
    async with proxied(tmp_path, proxy, http2=True) as (_, client), AsyncExitStack() as stack:
        responses = [await stack.enter_async_context(client.stream('GET', '/stamps')) for _ in range(20)]
        assert max(itertools.chain(*await asyncio.gather(*map(delays, responses)))) < AT_ONCE


@pytest.mark.parametrize('proxy', PROXIES)
async def test_a_stream_ends_cleanly_when_the_app_behind_the_proxy_stops(tmp_path, proxy):
    async with proxied(tmp_path, proxy) as (server, client):
        async with client.stream('GET', '/silent') as response:
            chunks = response.aiter_bytes()
            got = await anext(chunks)
            seconds = await server.stop()
            assert seconds < 1 and len(server.noted('finally')) == 1
            async for chunk in chunks: got += chunk
        assert b'\nretry: ' in got and got.endswith(b'\n\n')
        assert (await client.get('/silent')).status_code == 502


# Two servers that share one Redis

@asynccontextmanager
async def machines(tmp_path, proxy):
    "Two servers with one Redis behind a proxy, and a client of that."
    port, app = free_port(HOST), uvicorn(app='channel')
    with redis(tmp_path, '--appendonly', 'yes') as database:
        log = f'redis {database.url}'
        async with serving(tmp_path/'first', *app, LOG=log) as first, serving(tmp_path/'second', *app, LOG=log) as second:
            with PROXIES[proxy](tmp_path, port, TWO, [first.port, second.port]):
                async with client_of(port) as client: yield (first, second), client


async def readers(machine): return json.loads(await fetch(machine.port, '/stats'))['readers']

async def publish(machine, text): await fetch(machine.port, f'/publish?topic=bread&text={text}')


async def with_its_reader_first(both):
    "The machine that has the reader, and the other."
    async with asyncio.timeout(20):
        while True:
            for one, other in (both, both[::-1]):
                if await readers(one): return one, other
            await asyncio.sleep(0.01)


async def until_it_has(page, texts):
    async with asyncio.timeout(20):
        while len(page.texts) < len(texts): await asyncio.sleep(0.01)
    assert page.texts == texts and not page.gaps


@pytest.mark.parametrize('proxy', ['nginx', pytest.param('caddy', marks=pytest.mark.full)])
async def test_a_page_misses_nothing_when_one_server_after_the_other_restarts(tmp_path, proxy):
    async with machines(tmp_path, proxy) as (both, client):
        page = Reader(over_httpx(client, '/events?topics=bread'), (await client.get('/tail')).json()['id'])
        reading, published = asyncio.create_task(page.run()), []
        async def publish_on(machine):
            for _ in range(5):
                published.append(f'loaf-{len(published)}')
                await publish(machine, published[-1])
        try:
            for _ in range(2):
                one, other = await with_its_reader_first(both)
                await publish_on(one)
                await one.stop()
                await publish_on(other)
                await until_it_has(page, published)
                assert await readers(other) == 1
                published.append('through-the-proxy')
                assert (await client.post('/publish?topic=bread&text=through-the-proxy')).status_code == 200
                await asyncio.to_thread(one.start)
                await until_it_has(page, published)
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        assert page.statuses.count(200) == 3
