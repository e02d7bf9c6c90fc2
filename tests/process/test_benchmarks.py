"What the benchmarks rest on: a client that misses nothing, servers that end, and a fair judgement."
import asyncio, json, os, signal, socket, subprocess, sys, time
from itertools import count
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from benchmarks.__main__ import BENCHMARKS, RESULTS
from benchmarks.blocked import BlockedBenchmark
from benchmarks.client import Fault, receive, streams, warm_up
from benchmarks.contenders import CONTENDERS, FasthtmlSSE, Queues, RawASGI, RedisLog, frame
from benchmarks.fanout import FanoutBenchmark
from benchmarks.idle import IdleBenchmark
from benchmarks.report import judge, page
from benchmarks.server import ROOT, Server
from benchmarks.source import WARM_UP
from tests.support.redis import need_redis


def also_in_full(*values): return [pytest.param(value, marks=pytest.mark.full) for value in values]


class Faulty(RawASGI):
    "Changes the frames of a stream."
    async def chunks(self, source):
        for chunk in self.changed([sent async for sent in source(frame)()]): yield chunk

class Swapping(Faulty):
    complaint = 'expected event 5, received event 6'
    def changed(self, frames): return frames[:5] + [frames[6], frames[5]] + frames[7:]

class Dropping(Faulty):
    complaint = 'expected event 5, received event 6'
    def changed(self, frames): return frames[:5] + frames[6:]

class Doubling(Faulty):
    complaint = 'expected event 6, received event 5'
    def changed(self, frames): return frames[:6] + frames[5:]

class Cutting(Faulty):
    complaint = 'expected event 99, received the end of the stream'
    def changed(self, frames): return frames[:-1]

class Halving(Faulty):
    complaint = "expected the end of the stream, received half an event: b'data: 0000099"
    def changed(self, frames): return frames[:-1] + [frames[-1][:20]]

class Repeating(Faulty):
    complaint = 'expected the end of the stream, received event 99'
    def changed(self, frames): return frames + frames[-1:]

class Adding(Faulty):
    complaint = "expected event 5, received b'event: x / data: y'"
    def changed(self, frames): return frames[:5] + [b'event: x\ndata: y\n\n'] + frames[5:]

class Garbling(Faulty):
    complaint = "expected event 5, received b'data: 0000005"
    def changed(self, frames): return frames[:5] + [frames[5].replace(b'xx', b'x', 1)] + frames[6:]

class Breaking(Faulty):
    complaint = 'expected event 5, received the loss of the connection'
    def changed(self, frames):
        yield from frames[:5]
        raise SystemExit

class Labelling(Faulty):
    complaint = "expected event 5, received b'id: b / data: 0000005"
    def changed(self, frames): return frames[:5] + [b'id: a\nid: b\n' + frames[5]] + frames[6:]

class Missing(RawASGI):
    complaint = 'expected event 0, received status 404'
    def app(self, source):
        from starlette.applications import Starlette
        return Starlette()


@pytest.mark.anyio
@pytest.mark.parametrize('kind', [
    Dropping, Doubling, Cutting, Halving, Repeating, Garbling, Breaking, Labelling, Missing,
    *also_in_full(Swapping, Adding),  # judged as Dropping and Labelling are
])
async def test_every_fault_is_found_and_named(kind):
    with Server(kind(), 'eager') as server: stream = await receive(server)
    with pytest.raises(Fault) as e: stream.check(WARM_UP)
    assert str(e.value).startswith(f'raw-ASGI, eager, connection 0: {kind.complaint}')


@pytest.mark.anyio
@pytest.mark.parametrize('name', ['fasthtml-sse', 'raw-ASGI', 'uvloop'])
async def test_a_sound_stream_passes(name):
    contender, = (c for c in CONTENDERS if c.name == name)
    with Server(contender, 'suspending', 500) as server:
        await warm_up(server)
        events, heartbeats = (await receive(server)).check(500)
    assert len(events) == 500 and not heartbeats
    assert all(made < arrived for made, arrived in events) and events == sorted(events)


class Unfair(RawASGI):
    "Changes what its second client is sent."
    def channel(self, store):
        queues, clients = Queues(frame), count()
        def subscribe(): return self.changed(queues.subscribe()) if next(clients) == 1 else queues.subscribe()
        return self.streaming(subscribe), queues.publish

    async def changed(self, events):
        number = 0
        async for event in events:
            for sent in self.sent(number, event): yield sent
            number += 1

class DroppingForOne(Unfair):
    complaint = 'expected event 205, received event 206'
    def sent(self, number, event): return [] if number == 205 else [event]

class DoublingForOne(Unfair):
    complaint = 'expected event 206, received event 205'
    def sent(self, number, event): return [event, event] if number == 205 else [event]

class SwappingForOne(Unfair):
    complaint = 'expected event 205, received event 206'
    def sent(self, number, event):
        if number == 205: self.held = event
        return {205: [], 206: [event, getattr(self, 'held', b'')]}.get(number, [event])

class GarblingForOne(Unfair):
    complaint = "expected event 205, received b'data: 0000205"
    def sent(self, number, event): return [event.replace(b'xx', b'x', 1)] if number == 205 else [event]

class StoppingForOne(Unfair):
    complaint = 'expected event 205, received nothing more for 0.5 s'
    def sent(self, number, event): return [event] if number < 205 else []

class CuttingForOne(Unfair):
    complaint = "expected the end of the stream, received half an event: b'data: 0000205"
    def sent(self, number, event): return {205: [event[:20]]}.get(number, [event] if number < 205 else [])

class EndingForOne(Unfair):
    complaint = 'expected event 205, received the end of the stream'
    async def changed(self, events):
        for _ in range(205): yield await anext(events)

class BreakingForAll(Unfair):
    complaint = 'expected event 20[05], received the loss of the connection'
    def sent(self, number, event):
        if number == 205: raise SystemExit
        return [event]

FANOUT = FanoutBenchmark(3, bursts=2)
HASTY = FanoutBenchmark(3, bursts=2, patience=0.5)  # for what never comes

@pytest.mark.parametrize('kind', [
    SwappingForOne, StoppingForOne, EndingForOne, BreakingForAll,
    *also_in_full(DroppingForOne, CuttingForOne),  # seen as StoppingForOne is: the reader misses something when all others have it
    *also_in_full(DoublingForOne, GarblingForOne),  # seen as SwappingForOne is: in the end
])
def test_a_fault_on_one_of_many_connections_is_found_and_named(kind):
    with pytest.raises(Fault, match=f'^raw-ASGI, burst, connection [012]: {kind.complaint}'): HASTY.measure(kind(), 'burst')

@pytest.mark.parametrize('name', ['fasthtml-sse', 'SQLiteLog', 'RedisLog', 'EventStream', 'sse-starlette', 'raw-ASGI', 'uvloop'])
def test_a_sound_channel_passes(name):
    if name == 'RedisLog': need_redis()
    contender, = (c for c in CONTENDERS if c.name == name)
    assert 'cpu_us' in FANOUT.measure(contender, 'burst')

def test_no_redis_is_left_behind():
    need_redis()
    with RedisLog().store() as url, socket.create_connection((url := urlsplit(url)).netloc.split(':')) as connection:
        connection.sendall(b'PING\r\n')
        assert connection.recv(100) == b'+PONG\r\n'
    with pytest.raises(ConnectionRefusedError): socket.create_connection((url.hostname, url.port))

def test_what_is_kept_for_clients_that_do_not_read_is_found():
    def growth(contender, readers): return BlockedBenchmark(readers, 501).measure(contender, 'blocked')['growth_mb']
    assert growth(RawASGI(), 100) > growth(RawASGI(), 0) + 8 * 100 * 500 / 1e6
    assert abs(growth(FasthtmlSSE(), 100) - growth(FasthtmlSSE(), 0)) < 0.1


@pytest.mark.anyio
async def test_heartbeats_are_counted_on_every_connection():
    meter, idle = SimpleNamespace(start=[0], wall=float('inf')), IdleBenchmark(window=2)
    with Server(RawASGI(), 'silent') as server:
        await warm_up(server)
        async with streams(server, 3) as connections:
            with pytest.raises(Fault, match='^raw-ASGI, silent, connection 2: expected 2 heartbeats, received 0$'):
                idle.beats(connections[2], meter, server)
            while not all(stream.pieces for stream in connections): await asyncio.sleep(0.01)
            assert [idle.beats(stream, meter, server) for stream in connections] == [1, 1, 1]


def benchmark(*args): return [sys.executable, '-m', 'benchmarks', *args]

def is_gone(group):
    try: os.killpg(group, 0)
    except ProcessLookupError: return True

@pytest.mark.parametrize('how', [
    signal.SIGINT,
    signal.SIGKILL,
    *also_in_full(signal.SIGTERM),
], ids=lambda how: how.name)
def test_no_server_is_left_behind(how):
    command = benchmark('--benchmark', 'stream', '--contender', 'raw-ASGI', '--rounds', '50')
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.send_signal(how)
        process.stdout.read()  # a pipe that is closed would end it in another way
    assert process.returncode == -how
    end = time.monotonic() + 5
    while not is_gone(process.pid): assert time.monotonic() < end


def test_a_server_whose_client_went_before_it_began_ends_at_once():
    nobody = '1'  # is not the parent of this server
    started = [sys.executable, '-m', 'benchmarks.server', '', nobody, 'benchmarks.contenders:RawASGI', 'eager', '0', '3']
    done = subprocess.run(started, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, 'the client has gone\n')


@pytest.mark.full
def test_a_quick_run_measures_everything():
    done = subprocess.run(benchmark('--quick', '--contender', 'raw-ASGI'), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert {line.partition(':')[0] for line in done.stdout.splitlines() if line} == {
        'stream 1, eager, raw-ASGI',
        'stream 1, suspending, raw-ASGI',
        'stream 1, paced, raw-ASGI',
        'idle 1, silent, raw-ASGI',
        'encode 1, text, raw-ASGI',
        'fanout 1, burst, raw-ASGI',
        'fanout 1, paced, raw-ASGI',
        'fanout 1, crowd, raw-ASGI',
        'fanout 1, waiting, raw-ASGI',
        'blocked 1, blocked, raw-ASGI',
    }

@pytest.mark.parametrize('option', ['--contender', '--benchmark'])
def test_an_unknown_name_is_refused(option):
    done = subprocess.run(benchmark(option, 'nobody'), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "invalid choice: 'nobody' (choose from" in done.stderr


def runs_of(variant, metric, ours, peer, benchmark='stream'):
    runs = [('fasthtml-sse', value) for value in ours] + [(peer[0], value) for value in peer[1]]
    return [{'benchmark': benchmark, 'variant': variant, 'contender': name, metric: value} for name, value in runs]

@pytest.mark.parametrize('ours, met, verdict', [
    ([1, 2, 90], True, 'ok: stream'),
    ([1, 2.01, 3], False, 'MISSED: stream'),
], ids=['met', 'missed'])
def test_medians_are_judged(ours, met, verdict):
    (judged, line), = judge(runs_of('eager', 'cpu_us', ours, ('EventStream', [9, 10, 11])), BENCHMARKS, CONTENDERS)
    assert judged is met and line.startswith(verdict) and '× EventStream, at most 0.200' in line

@pytest.mark.parametrize('ours, met, verdict', [
    (1, True, 'ok: '),
    (1.03, True, 'ok, within noise: '),
    (1.031, False, 'MISSED: '),
], ids=['met', 'noise', 'missed'])
def test_noise_is_let_pass_and_said(ours, met, verdict):
    (judged, line), = judge(runs_of('suspending', 'cpu_us', [ours], ('EventStream', [1])), BENCHMARKS, CONTENDERS)
    assert judged is met and line.startswith(verdict) and line.endswith('at most 1.00, and 3% for noise)')

@pytest.mark.parametrize('growth, met, verdict', [(2, True, 'ok: '), (2.01, False, 'MISSED: ')], ids=['met', 'missed'])
def test_a_figure_is_judged_by_itself(growth, met, verdict):
    run = {'benchmark': 'blocked', 'variant': 'blocked', 'contender': 'fasthtml-sse', 'growth_mb': growth}
    (judged, line), = judge([run], BENCHMARKS, CONTENDERS)
    assert judged is met and line.startswith(verdict) and line.endswith(f'({growth:.2f}, at most 2.00)')

@pytest.mark.parametrize('stored, met, verdict', [(4, True, 'ok: '), (4.01, False, 'MISSED: ')], ids=['met', 'missed'])
def test_one_of_ours_is_judged_by_another(stored, met, verdict):
    runs = runs_of('burst', 'cpu_us', [3], ('SQLiteLog', [stored]), 'fanout')
    (judged, line), = judge(runs, BENCHMARKS, CONTENDERS)
    assert judged is met and line.startswith(verdict + 'fanout, bursts over SQLite') and '× fasthtml-sse, at most 1.33' in line

def test_what_was_not_measured_is_not_judged():
    assert not [*judge(runs_of('eager', 'cpu_us', [1], ('sse-starlette', [1])), BENCHMARKS, CONTENDERS)]


def test_every_target_compares_what_is_measured():
    for benchmark in BENCHMARKS:
        for target in benchmark.targets:
            assert (target.variant, target.metric) in {(f.variant, f.metric) for f in benchmark.figures}
            for name in filter(None, (target.peer, target.ours)):
                assert any(c.name == name and benchmark.takes(c, target.variant) for c in CONTENDERS)

def test_the_table_is_what_the_results_give():
    results = json.loads((RESULTS/'results.json').read_text())
    assert (RESULTS/'table.md').read_text() == page(results, BENCHMARKS, CONTENDERS)
    assert {run['contender'] for run in results['runs']} == {c.name for c in CONTENDERS}
    assert {run['benchmark'] for run in results['runs']} == {b.name for b in BENCHMARKS}
