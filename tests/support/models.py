"""A model that answers as it is told, behind the real HTTP APIs of OpenAI (chat completions, responses) and Anthropic (messages).

    with Model('Hello', ' world') as model: client = AsyncOpenAI(**model.for_openai)
"""
import asyncio, json, threading, time
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import uvicorn

HOSTILE = ['<script>', 'alert("1 & 2")', '</div>', ' ', '\n\n', '  two blanks ', 'line\u2028end', '\r\n', '👩', '\u200d', '🚀', 'ä€',
           'data: x\n', '&lt;', '"quoted" \\n']
START = 10  # seconds


@dataclass
class Call:
    "One request, and what became of it. Times are those of `time.monotonic`."
    path: str
    body: dict
    sent: int = 0  # pieces of text
    times: list = field(default_factory=list)  # when each of them was sent
    left: float | None = None  # when the client's connection closed before the answer's end
    over: threading.Event = field(default_factory=threading.Event)


def chat_event(data): return f'data: {json.dumps(data, ensure_ascii=False)}\n\n'

def named_event(data): return f'event: {data["type"]}\n' + chat_event(data)


class Chat:
    "Chunks of a chat completion."
    @staticmethod
    def chunk(choice=None, **rest):
        choices = [] if choice is None else [{'index': 0, 'finish_reason': None, 'logprobs': None} | choice]
        return chat_event({'id': 'chat1', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'fake', 'choices': choices} | rest)

    def start(self): return [self.chunk({'delta': {'role': 'assistant', 'content': '', 'refusal': None}})]

    def thought(self): return [self.chunk({'delta': {'reasoning_content': 'Hm.'}})]

    def text(self, text): return [self.chunk({'delta': {'content': text}})]

    def tool(self):
        called = {'index': 0, 'id': 'call1', 'type': 'function', 'function': {'name': 'look_up', 'arguments': ''}}
        more = {'index': 0, 'function': {'arguments': '{"word": "x"}'}}
        return [self.chunk({'delta': {'tool_calls': [call]}}) for call in (called, more)]

    def error(self): return [chat_event({'error': {'message': 'overloaded', 'type': 'server_error', 'code': None, 'param': None}})]

    def end(self, text):
        usage = {'prompt_tokens': 1, 'completion_tokens': 2, 'total_tokens': 3}
        return [self.chunk({'delta': {}, 'finish_reason': 'stop'}), self.chunk(usage=usage), 'data: [DONE]\n\n']


class Responses:
    "Events of a response."
    def __init__(self): self.numbers, self.calls = count(), []

    def event(self, type, **data): return named_event({'type': type, 'sequence_number': next(self.numbers)} | data)

    def of_text(self, type, **data): return self.event(type, item_id='msg1', output_index=0, content_index=0, **data)

    @staticmethod
    def response(status, output=(), **rest):
        return {'id': 'resp1', 'object': 'response', 'created_at': 1, 'model': 'fake', 'status': status, 'output': list(output),
                'error': None, 'parallel_tool_calls': True, 'tool_choice': 'auto', 'tools': [], 'instructions': None, 'metadata': {},
                'temperature': 1.0,
                'top_p': 1.0, 'incomplete_details': None} | rest

    @staticmethod
    def part(text): return {'type': 'output_text', 'text': text, 'annotations': [], 'logprobs': []}

    def message(self, status, *parts):
        return {'type': 'message', 'id': 'msg1', 'role': 'assistant', 'status': status, 'content': list(parts)}

    def start(self):
        return [self.event('response.created', response=self.response('in_progress')),
                self.event('response.output_item.added', output_index=0, item=self.message('in_progress')),
                self.of_text('response.content_part.added', part=self.part(''))]

    def thought(self):
        return [self.event('response.reasoning_summary_text.delta', item_id='rs1', output_index=0, summary_index=0, delta='Hm.')]

    def text(self, text): return [self.of_text('response.output_text.delta', delta=text, logprobs=[])]

    def tool(self):
        called = {'type': 'function_call', 'id': 'fc1', 'call_id': 'call1', 'name': 'look_up', 'arguments': '', 'status': 'in_progress'}
        self.calls.append(done := called | {'arguments': '{"word": "x"}', 'status': 'completed'})
        return [self.event('response.output_item.added', output_index=1, item=called),
                self.event('response.function_call_arguments.delta', item_id='fc1', output_index=1, delta=done['arguments']),
                self.event('response.function_call_arguments.done', item_id='fc1', output_index=1, name='look_up',
                    arguments=done['arguments']),
                self.event('response.output_item.done', output_index=1, item=done)]

    def error(self): return [self.event('error', code='server_error', message='overloaded', param=None)]

    def end(self, text):
        message = self.message('completed', self.part(text))
        usage = {'input_tokens': 1, 'output_tokens': 2, 'total_tokens': 3,
                 'input_tokens_details': {'cached_tokens': 0, 'cache_write_tokens': 0}, 'output_tokens_details': {'reasoning_tokens': 0}}
        return [self.of_text('response.output_text.done', text=text, logprobs=[]),
                self.of_text('response.content_part.done', part=self.part(text)),
                self.event('response.output_item.done', output_index=0, item=message),
                self.event('response.completed', response=self.response('completed', [message, *self.calls], usage=usage))]


class Messages:
    "Events of a message."
    def __init__(self): self.index, self.writing = 0, False  # the content block, and whether it is one of text that is open

    @staticmethod
    def event(type, **data): return named_event({'type': type} | data)

    def opened(self, block): return self.event('content_block_start', index=self.index, content_block=block)

    def delta(self, type, **data): return self.event('content_block_delta', index=self.index, delta={'type': type} | data)

    def closed(self):
        self.index, self.writing = self.index + 1, False
        return self.event('content_block_stop', index=self.index - 1)

    def start(self):
        message = {'id': 'msg1', 'type': 'message', 'role': 'assistant', 'content': [], 'model': 'fake', 'stop_reason': None,
                   'stop_sequence': None, 'usage': {'input_tokens': 1, 'output_tokens': 1}}
        return [self.event('message_start', message=message), self.event('ping')]

    def thought(self):
        return [self.opened({'type': 'thinking', 'thinking': '', 'signature': ''}), self.delta('thinking_delta', thinking='Hm.'),
                self.delta('signature_delta', signature='sig'), self.closed()]

    def text(self, text):
        opened = [] if self.writing else [self.opened({'type': 'text', 'text': ''})]
        self.writing = True
        return [*opened, self.delta('text_delta', text=text)]

    def tool(self):
        closed = [self.closed()] if self.writing else []
        parts = [self.delta('input_json_delta', partial_json=part) for part in ('', '{"word": ', '"x"}')]
        return [*closed, self.opened({'type': 'tool_use', 'id': 'call1', 'name': 'look_up', 'input': {}}), *parts, self.closed()]

    def error(self): return [self.event('error', error={'type': 'overloaded_error', 'message': 'overloaded'})]

    def end(self, text):
        return [*([self.closed()] if self.writing else []),
                self.event('message_delta', delta={'stop_reason': 'end_turn', 'stop_sequence': None}, usage={'output_tokens': 2}),
                self.event('message_stop')]


APIS = {'/v1/chat/completions': Chat, '/v1/responses': Responses, '/v1/messages': Messages}


class Model:
    "Answers each request with `pieces`, one every `pace` seconds, from a server in a thread."
    def __init__(self,
        *pieces: str,
        pace: float = 0,
        thought: bool = False,  # Whether it says first that it thinks
        tool: bool = False,  # Whether it calls a tool last
        fails: bool = False,  # Whether an error follows the pieces, and nothing else
        waits: bool = False,  # Whether nothing at all follows them, until the client leaves
        ssl: dict | None = None,  # `ssl_keyfile` and `ssl_certfile`
    ):
        self.pieces, self.pace, self.thought, self.tool = pieces, pace, thought, tool
        self.fails, self.waits, self.ssl = fails, waits, ssl or {}
        self.calls: list[Call] = []

    def __enter__(self):
        config = uvicorn.Config(self.app, interface='asgi3', port=0, log_level='critical', lifespan='off', ws='none',
            **self.ssl)
        self.server, starts = uvicorn.Server(config), time.monotonic()
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive() and time.monotonic() < starts + START, 'the model does not start'
            time.sleep(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f'http{"s" * bool(self.ssl)}://127.0.0.1:{port}'
        self.for_openai = {'base_url': f'{self.url}/v1', 'api_key': 'none', 'max_retries': 0}
        self.for_anthropic = {'base_url': self.url, 'api_key': 'none', 'max_retries': 0}
        return self

    def __exit__(self, *error):
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()

    async def app(self, scope, receive, send):
        call = Call(scope['path'], json.loads((await receive())['body']))
        self.calls.append(call)
        answering = asyncio.create_task(self.answer(call, partial(self.write, send)))
        leaving = asyncio.create_task(receive())
        await asyncio.wait({answering, leaving}, return_when='FIRST_COMPLETED')
        if not answering.done():
            call.left = time.monotonic()
            answering.cancel()
        await asyncio.wait({answering})
        leaving.cancel()
        call.over.set()

    async def write(self, send, events):
        "What is sent is cut somewhere, also within a character."
        data = ''.join(events).encode()
        for part in (data[:len(data) * 2 // 3], data[len(data) * 2 // 3:]):
            await send({'type': 'http.response.body', 'body': part, 'more_body': True})

    async def answer(self, call, write):
        api = APIS[call.path]()
        await write.args[0]({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/event-stream')]})
        await write([*api.start(), *(api.thought() if self.thought else [])])
        for piece in self.pieces:
            await asyncio.sleep(self.pace if call.sent else 0)
            await write(api.text(piece))
            call.times.append(time.monotonic())
            call.sent += 1
        if self.waits: await asyncio.Event().wait()
        await write(api.error() if self.fails else [*(api.tool() if self.tool else []), *api.end(''.join(self.pieces))])
        await write.args[0]({'type': 'http.response.body', 'body': b''})
