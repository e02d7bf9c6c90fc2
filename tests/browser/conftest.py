"One headless Chromium for the tests of this folder."
import shutil
from functools import partial
from pathlib import Path

import pytest

from . import live, pages
from .live import BUILDS, SHIPPED

FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
]


def pytest_generate_tests(metafunc):
    "Each test of a page runs with the htmx that FastHTML ships, one of them if it is about connections; `make test-all` has all."
    names = [mark.args[0] for mark in metafunc.definition.iter_markers('parametrize')]
    if 'build' not in metafunc.fixturenames or any('build' in name for name in names): return
    few = SHIPPED[:1] if metafunc.definition.get_closest_marker('connections') else SHIPPED
    builds = [build if build in few else pytest.param(build, marks=pytest.mark.full) for build in BUILDS]
    metafunc.parametrize('build', builds, scope='package')


@pytest.fixture(scope='package')
def chromium():
    "A headless browser that finds no address but 127.0.0.1."
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    if not any((Path(sync_api.__file__).parents[1] / 'driver').glob('node*')): pytest.skip("playwright's driver is missing")
    path = shutil.which('chromium')
    if not path: pytest.skip('chromium was not found')
    with sync_api.sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=FLAGS) as browser: yield browser


@pytest.fixture(scope='package')
def keeping(chromium):
    "A browser that keeps the pages it leaves, as browsers do when nobody tests with them."
    path, kept = shutil.which('chromium'), ['--disable-back-forward-cache']
    with chromium.browser_type.launch(executable_path=path, args=FLAGS, ignore_default_args=kept) as browser: yield browser


@pytest.fixture(scope='package')
def show(chromium):
    "`with show(app) as page:` opens the app in the browser."
    return partial(live.visit, chromium)


@pytest.fixture
def browse(chromium):
    "`with browse(app, build) as context:` has the app run for pages to come."
    return partial(pages.browsing, chromium)


@pytest.fixture
def visit(chromium):
    "`with visit(app, build) as page:` opens the app as its users make it."
    return partial(pages.visiting, chromium)


@pytest.fixture
def topic(): return pages.Topic()
