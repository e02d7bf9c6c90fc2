"A Redis of our own, that can be stopped and started."
import functools, shutil, subprocess, tempfile
from contextlib import contextmanager

import pytest
from fastcore.net import free_port

from .serving import HOST


def need_redis():
    "Skip the running test where there is no `redis-server`."
    if not shutil.which('redis-server'): pytest.skip('redis-server was not found')


class Redis:
    "A server on a free port of this machine, with its data in `folder`."
    def __init__(self, folder, *options):
        self.port, self.folder, self.options = free_port(HOST), folder, options
        self.url = f'redis://{HOST}:{self.port}'

    def start(self):
        need_redis()
        where = ['--port', str(self.port), '--bind', HOST, '--dir', str(self.folder)]
        command = ['redis-server', *where, '--save', '', '--hz', '100', *self.options]  # so often it sees that it shall end
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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


@functools.cache
def shared():
    "A server for all tests of this process that need nothing but names of their own."
    need_redis()
    folder = tempfile.TemporaryDirectory()
    server = Redis(folder.name, '--appendonly', 'no')
    server.start()
    server.files = folder  # they go with the server
    return server


def stop_shared():
    if not shared.cache_info().currsize: return
    shared().stop()
    shared().files.cleanup()
