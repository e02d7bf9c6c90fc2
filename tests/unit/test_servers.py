"What shows of others' insides, and what happens where it does not."
import asyncio, logging
from types import SimpleNamespace

import pytest

from fasthtml_sse import SSEResponse
from fasthtml_sse.core import servers
from fasthtml_sse.core.servers import PROBES, HypercornServer, UvicornServer, count_workers, find_transport, innermost
from tests.support.asgi import Client
from tests.support.clock import until

pytestmark = pytest.mark.anyio


def frame(**variables): return SimpleNamespace(f_locals=variables)

def uvicorn(**attributes): return UvicornServer(frame(self=SimpleNamespace(**attributes)))

def gunicorn(workers):
    "What uvicorn's worker hangs into its configuration."
    class Worker:
        cfg = SimpleNamespace(workers=workers)
        def notify(self): "Gunicorn is told that its worker lives."
    return Worker().notify

@pytest.mark.parametrize('config, workers', [
    (dict(callback_notify=None, should_reload=False, workers=3), 3),
    (dict(callback_notify=None, should_reload=True, workers=3), 1),
    (dict(callback_notify=gunicorn(4), should_reload=False, workers=1), 4),
])
def test_uvicorn_shows_how_many_workers_there_are(config, workers):
    assert uvicorn(config=SimpleNamespace(**config)).workers() == workers

class Listener:
    def __init__(self, serving): self.serving = serving
    def is_serving(self): return self.serving

@pytest.mark.parametrize('server, listens', [
    (uvicorn(started=False), True),
    (uvicorn(started=True, servers=[Listener(True)]), True),
    (uvicorn(started=True, servers=[Listener(True), Listener(False)]), False),
    (HypercornServer(frame()), None),
    (HypercornServer(frame(server_tasks=set(), servers=[Listener(True)])), True),
    (HypercornServer(frame(server_tasks=set(), servers=[Listener(False)])), False),
], ids=['uvicorn starts', 'uvicorn listens', 'uvicorn stops', 'hypercorn starts', 'hypercorn listens', 'hypercorn stops'])
def test_servers_show_whether_they_listen(server, listens): assert server.listens() is listens

class Writer:
    transport = object()
    def __init__(self, peer): self.peer = peer
    def get_extra_info(self, name): return self.peer

@pytest.mark.parametrize('version, peer, found', [
    ('1.1', ('127.0.0.1', 7), True),
    ('1.1', ('127.0.0.1', 8), False),
    ('1.1', None, False),
    ('2', ('127.0.0.1', 7), False),
])
def test_hypercorn_shows_the_transport_of_the_client_that_asked(version, peer, found):
    coro = SimpleNamespace(cr_frame=frame(writer=Writer(peer)))
    server = HypercornServer(frame(server_tasks=[SimpleNamespace(get_coro=lambda: coro)]))
    assert server.transport({'http_version': version, 'client': ('127.0.0.1', 7)}) is (Writer.transport if found else None)

def test_uvicorn_shows_no_transport_of_a_request_that_is_not_its_own():
    for connections in ([], [SimpleNamespace(cycle=None)], [SimpleNamespace(cycle=SimpleNamespace(scope={}))]):
        assert uvicorn(server_state=SimpleNamespace(connections=connections)).transport(SCOPE) is None

@pytest.mark.parametrize('env, copies', [
    ({}, 1),
    ({'PROCS': '3'}, 1),
    ({'FH_PROCNUM': '0'}, 2),
    ({'FH_PROCNUM': '4'}, 5),
    ({'FH_PROCNUM': '0', 'PROCS': '3'}, 3),
], ids=str)
async def test_the_copies_of_fasthtml_count_as_workers(env, copies, monkeypatch):
    for name in ('FH_PROCNUM', 'PROCS'): monkeypatch.delenv(name, raising=False)
    for name, value in env.items(): monkeypatch.setenv(name, value)
    assert count_workers(asyncio.get_running_loop()) == copies


# Surprises

@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    "Probes that have not been tried."
    for probe in PROBES: monkeypatch.setattr(probe, 'holds', None)

def broken_send(*inside):
    "A wrapper of Starlette's whose closure is another one."
    def wrapper(send): return lambda message: send
    made = wrapper(*inside) if inside else lambda message: None
    made.__module__, made.__qualname__ = 'starlette.middleware.errors', servers.PASSING['starlette.middleware.errors']
    return made

class Odd:
    "What has no attribute that one may ask for."
    def __getattribute__(self, name): raise RuntimeError(f'{name} is no business of yours')

SCOPE = {'http_version': '1.1', 'client': ('127.0.0.1', 7)}
@pytest.mark.parametrize('look', [
    UvicornServer(frame()).listens,
    uvicorn().listens,
    uvicorn(started=True).listens,
    uvicorn(started=True, servers=[]).listens,
    uvicorn(started=True, servers=None).listens,
    uvicorn(started=True, servers=[Odd()]).listens,
    UvicornServer(frame(self=Odd())).listens,
    uvicorn().workers,
    uvicorn(config=SimpleNamespace(callback_notify=None, should_reload=False, workers='many')).workers,
    uvicorn(config=SimpleNamespace(callback_notify=gunicorn('many'), should_reload=False, workers=1)).workers,
    lambda: uvicorn().transport(SCOPE),
    lambda: uvicorn(server_state=SimpleNamespace(connections=[object()])).transport(SCOPE),
    HypercornServer(frame(server_tasks=set())).listens,
    HypercornServer(frame(server_tasks=set(), servers=[])).listens,
    HypercornServer(frame()).workers,
    lambda: HypercornServer(frame()).transport(SCOPE),
    lambda: HypercornServer(frame(server_tasks=[])).transport(SCOPE),
    lambda: servers._innermost(broken_send()),
    lambda: servers._innermost(broken_send(7)),
    lambda: servers._own_transport(Odd()),
    lambda: servers.is_uvicorns(Odd()),
])
def test_a_surprise_is_unknown_and_said_once(look, caplog):
    with caplog.at_level(logging.WARNING): assert [look(), look()] == [None, None]
    said, = caplog.records
    assert said.name == 'fasthtml_sse' and 'is not as fasthtml-sse knows it' in said.getMessage()
    assert [probe.holds for probe in PROBES].count(False) == 1

def test_a_probe_that_met_a_surprise_does_not_hold_any_more():
    for server in uvicorn(started=False), uvicorn(), uvicorn(started=False): server.listens()
    assert [probe.holds for probe in PROBES].count(False) == 1

def test_the_plain_way_needs_no_answer():
    send = broken_send()
    assert innermost(send) is send
    assert find_transport(SCOPE, Odd(), [uvicorn(), HypercornServer(frame())]) is None

@pytest.mark.parametrize('name', ['FH_PROCNUM', 'PROCS'])
async def test_an_environment_that_is_no_number_is_one_process(name, monkeypatch):
    monkeypatch.setenv('FH_PROCNUM', '0')
    monkeypatch.setenv(name, 'several')
    assert count_workers(asyncio.get_running_loop()) == 1

@pytest.mark.parametrize('missing', ['_enter_task', '_leave_task'])
async def test_a_stream_runs_where_a_callback_cannot_act_as_a_task(missing, monkeypatch):
    "All that comes by callbacks: what a thread gives, heartbeats, the end."
    monkeypatch.delattr(asyncio.tasks, missing)
    tasks = []
    class Asking(Client):
        async def send(self, message):
            tasks.append(asyncio.current_task())
            await super().send(message)
    async with Asking.asking(SSEResponse(iter('abc'), heartbeat_interval=0.01)) as client:
        await until(lambda: client.sent and client.sent[-1] == b'')
    assert b''.join(client.sent).replace(b': heartbeat\n\n', b'') == b'data: a\n\ndata: b\n\ndata: c\n\n'
    assert None not in tasks
