"One request in process, from the side of an ASGI server."
import asyncio

from fasthtml.common import fast_app

from .clock import patience, until


def app_of(make, **settings):
    "An app that answers `/` with what `make` returns."
    app, rt = fast_app(**settings)
    rt('/', methods=['get', 'head'])(make)
    return app


class Client:
    "A client that notes each chunk as it was sent, takes none while it is not `free`, and leaves when it has `left`."
    def __init__(self):
        self.sent, self.request = [], None
        self.left, self.open, self.free = (asyncio.Event() for _ in range(3))
        self.free.set()

    @classmethod
    def asking(cls, response, last_event_id=None):
        "A client whose request is under way, and which leaves with its block."
        client = cls()
        client.request = asyncio.create_task(client.get(response, last_event_id))
        return client

    async def get(self, response, last_event_id=None):
        headers = [(b'last-event-id', last_event_id.encode())] if last_event_id else []
        await response({'type': 'http', 'method': 'GET', 'headers': headers, 'query_string': b''}, self.receive, self.send)

    async def send(self, message):
        await self.free.wait()
        if message['type'] == 'http.response.body': self.sent.append(message['body'])
        self.open.set()

    async def receive(self):
        await self.left.wait()
        return {'type': 'http.disconnect'}

    async def __aenter__(self):
        await until(lambda: self.sent or self.request.done())
        return self

    async def __aexit__(self, *error):
        self.leave()
        await asyncio.wait({self.request})
        if not error[0]: self.request.result()

    def leave(self):
        self.left.set()
        self.free.set()

    async def over(self):
        async with patience(): await self.request

    @property
    def body(self): return b''.join(self.sent)

    async def got(self, end):
        await until(lambda: self.body.endswith(end) or self.request.done())
        assert self.body.endswith(end), self.body
