"A Redis of our own, that can be stopped and started."
import shutil, subprocess
from contextlib import contextmanager

import pytest

from tests.serving import free_port


def need_redis():
    "Skip the running test where there is no `redis-server`."
    if not shutil.which('redis-server'): pytest.skip('redis-server was not found')


class Redis:
    "A server on a free port of this machine, with its data in `folder`."
    def __init__(self, folder, *options):
        self.port, self.folder, self.options = free_port(), folder, options
        self.url = f'redis://127.0.0.1:{self.port}'

    def start(self):
        need_redis()
        self.process = subprocess.Popen(['redis-server', '--port', str(self.port), '--bind', '127.0.0.1', '--dir', str(self.folder), '--save', '', *self.options],
            stdout=subprocess.PIPE, text=True)
        next(line for line in self.process.stdout if 'Ready to accept connections' in line)

    def stop(self):
        "End it cleanly: what it has is on the disk, if it was told to keep it."
        self.process.terminate()
        self.process.communicate(timeout=10)


@contextmanager
def redis(folder, *options):
    server = Redis(folder, *options)
    server.start()
    try: yield server
    finally: server.stop()
