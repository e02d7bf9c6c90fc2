"What all tests share: limits of time, no task left behind, who runs beside whom, and no skipped test in CI."
import asyncio, functools, inspect, os, re

import pytest
from hypothesis import HealthCheck, settings

from tests.support.forks import hold_coverage_still

hold_coverage_still()

import fasthtml_sse.core.source as source
from fasthtml_sse.core.hub import Hub
from tests.support.clock import VirtualLoop
from tests.support.redis import stop_shared

FOLDERS = ['process', 'unit', 'browser']  # the order in which they run
# The parameter that says which page, or which log
PART = re.compile(r'[\[-](\d\.\d+\.\d+|EventSource|sse-source|Memory|SQLite|Redis|Apsw)(?=[\]-])')
GRACE = 10  # seconds that a test has to clean up, after its own limit and before it is broken off

settings.register_profile('any machine', settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('any machine')


def pytest_addoption(parser):
    parser.addoption('--debug-loops', action='store_true', help="run async tests in asyncio's debug mode, which takes a quarter more time")

@pytest.fixture
def anyio_backend(pytestconfig): return 'asyncio', {'debug': pytestconfig.getoption('debug_loops')}


def is_ours(handle):
    "Whether what will be called is the package's."
    callback = handle._callback
    while isinstance(callback, functools.partial): callback = callback.func
    return (getattr(callback, '__module__', None) or '').startswith('fasthtml_sse')

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
        timers = [handle for handle in loop._scheduled if not handle.cancelled() and is_ours(handle)]
        assert not timers, 'timers left behind'
    checked.is_checked = True
    return checked


def check_what_is_left(item):
    holder, name = (item.obj.hypothesis, 'inner_test') if hasattr(item.obj, 'hypothesis') else (item, 'obj')
    test = getattr(holder, name)
    if not inspect.iscoroutinefunction(test) or hasattr(test, 'is_checked'): return
    marker = item.get_closest_marker('timeout')
    limit = marker.args[0] if marker else float(item.config.getini('timeout'))
    setattr(holder, name, leaving_no_task(test, max(1, limit - GRACE)))


def folder_of(nodeid): return nodeid.split('/')[1]


def group_of(nodeid):
    "Tests of one group run one after another in one process: what measures time, and else a file, or its part for one page or log."
    path, _, test = nodeid.partition('::')
    part = PART.search(test)
    return 'process' if folder_of(nodeid) == 'process' else f'{path} {part[1]}' if part else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling  # where there is none, tests run in one process
    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid): return group_of(nodeid)
    return ByGroup(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items):
    for item in items: check_what_is_left(item)
    yield
    # Playwright keeps a loop running in its thread, which no async test elsewhere would survive: so the browser's come last
    items.sort(key=lambda item: FOLDERS.index(folder_of(item.nodeid)))


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get('skipped', [])
    if os.environ.get('CI') and skipped: terminalreporter.write_line(f'{len(skipped)} skipped: in CI every test must run', red=True)


def pytest_sessionfinish(session, exitstatus):
    stop_shared()
    reporter = session.config.pluginmanager.get_plugin('terminalreporter')
    if os.environ.get('CI') and reporter and reporter.stats.get('skipped') and not exitstatus: session.exitstatus = 1
