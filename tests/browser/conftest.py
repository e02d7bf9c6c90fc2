"One headless Chromium for the tests of this folder."
import shutil
from functools import partial
from pathlib import Path

import pytest

from .live import BUILDS, visit

FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    "Run these tests together, so that the browser starts once."
    items.sort(key=lambda item: item.path.is_relative_to(Path(__file__).parent))


# Playwright keeps a loop running in this thread, which no async test elsewhere would survive: so not for the whole session
@pytest.fixture(scope='package')
def chromium():
    "A headless browser that finds no address but 127.0.0.1."
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    if not any((Path(sync_api.__file__).parents[1] / 'driver').glob('node*')): pytest.skip("playwright's driver is missing")
    path = shutil.which('chromium')
    if not path: pytest.skip('chromium was not found')
    with sync_api.sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=FLAGS) as browser: yield browser


@pytest.fixture(params=BUILDS, scope='package')
def build(request):
    "A version of htmx."
    return request.param


@pytest.fixture(scope='package')
def show(chromium):
    "`with show(app) as page:` opens the app in the browser."
    return partial(visit, chromium)
