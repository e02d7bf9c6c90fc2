"Where the logs of several processes are."
from contextlib import contextmanager

from tests.support.redis import redis


@contextmanager
def place(kind, folder, *options):
    "Where the log is, as the app of `tests.apps.channel` is told."
    if kind == 'sqlite': yield f"sqlite {folder/'events.db'}"
    else:
        with redis(folder, *options) as server: yield f'redis {server.url}'
