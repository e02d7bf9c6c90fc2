"What all tests share: the event loop, no task left behind, and no skipped test in CI."
import asyncio, functools, inspect, os

import pytest

import fasthtml_sse.core.source as source
from fasthtml_sse.core.hub import Hub
from tests.clock import VirtualLoop

LIMIT = 60  # seconds; more for a test that says so: `pytest.mark.limit(240)`


@pytest.fixture
def anyio_backend(): return 'asyncio', {'debug': True}


def leaving_no_task(test, limit):
    "`test`, which fails if it takes longer than `limit` seconds, or leaves a task, a timer or a hub behind."
    @functools.wraps(test)
    async def checked(*args, **kwargs):
        loop, before = asyncio.get_running_loop(), asyncio.all_tasks()
        async with asyncio.timeout(None if isinstance(loop, VirtualLoop) else limit): await test(*args, **kwargs)
        for _ in range(100):
            if not (left := asyncio.all_tasks() - before - source._lingering): break
            await asyncio.wait(left, timeout=0.01)
        assert not left, 'tasks left behind'
        assert loop not in Hub._hubs, 'a hub left behind'
        timers = [handle for handle in loop._scheduled if not handle.cancelled() and 'fasthtml_sse' in repr(handle)]
        assert not timers, 'timers left behind'
    checked.is_checked = True
    return checked


def pytest_collection_modifyitems(items):
    for item in items:
        holder, name = (item.obj.hypothesis, 'inner_test') if hasattr(item.obj, 'hypothesis') else (item, 'obj')
        test = getattr(holder, name)
        if not inspect.iscoroutinefunction(test) or hasattr(test, 'is_checked'): continue
        limit = item.get_closest_marker('limit')
        setattr(holder, name, leaving_no_task(test, limit.args[0] if limit else LIMIT))


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get('skipped', [])
    if os.environ.get('CI') and skipped: terminalreporter.write_line(f'{len(skipped)} skipped: in CI every test must run', red=True)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin('terminalreporter')
    if os.environ.get('CI') and reporter and reporter.stats.get('skipped') and not exitstatus: session.exitstatus = 1
