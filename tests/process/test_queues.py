"Jobs of a queue report to open pages from workers that were forked, and their topics end whatever becomes of them."
import os, signal, subprocess, sys
from contextlib import asynccontextmanager

import pytest

from tests.support import ROOT
from tests.support.pages import opened
from tests.support.serving import fetch, serving, uvicorn

pytestmark = pytest.mark.anyio

HUEY = '-m', 'huey.bin.huey_consumer', 'tests.apps.queues.huey', '--worker-type', 'process', '--health-check-interval', '1'

@asynccontextmanager
async def queue(folder, workers):
    "A server, and a consumer with so many workers."
    (folder/'running').mkdir()
    async with serving(folder, *uvicorn('--no-access-log', app='queues'), FOLDER=str(folder)) as server:
        with (folder/'consumer').open('w') as out:
            command = [sys.executable, *HUEY, '--workers', str(workers)]
            consumer = subprocess.Popen(command, cwd=ROOT, env=server.env, start_new_session=True, stdout=out, stderr=out)
        try: yield server, consumer
        finally:
            os.killpg(consumer.pid, signal.SIGKILL)
            consumer.wait()

@asynccontextmanager
async def begun(server, id, how):
    "A page of a job that has begun."
    async with opened(server, id, 'events') as page:
        await fetch(server.port, f'/start?id={id}&how={how}')
        await page.begun()
        yield page

def worker_of(folder, id):
    "The process that works on a job."
    return next(int(note.name) for note in (folder/'running').iterdir() if note.read_text() == id)

async def test_a_job_reports_and_its_topic_ends_well_or_not(tmp_path):
    async with queue(tmp_path, workers=2) as (server, _):
        for id, end in (('ends', 'all of it'), ('fails', 'sorry: error')):
            async with begun(server, id, id) as page: await page.end()
            assert page.told == ['half of it', end, 'close done']
            async with opened(server, id, 'events') as late: await late.end()
            assert late.told == [end, 'close done']

async def test_a_job_whose_worker_is_killed_is_ended_by_the_next_one(tmp_path):
    async with queue(tmp_path, workers=1) as (server, _), begun(server, 'mine', 'hangs') as page:
        os.kill(worker_of(tmp_path, 'mine'), signal.SIGKILL)
        await page.end()
        assert page.told == ['half of it', 'sorry: killed', 'close done']
        async with begun(server, 'next', 'ends') as other: await other.end()
        assert other.told[-1] == 'close done'

async def test_a_job_whose_queue_is_stopped_says_so(tmp_path):
    async with queue(tmp_path, workers=1) as (server, consumer), begun(server, 'mine', 'hangs') as page:
        consumer.terminate()
        await page.end()
        assert page.told == ['half of it', 'sorry: interrupted', 'close done']
