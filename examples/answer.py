"An answer of a model: it comes word by word to all tabs, and the model is asked once."
from asyncio import Lock

from fasthtml.common import *
from fasthtml_sse import *
from markdown_it import MarkdownIt

from . import layout, model

rt = APIRouter('/answer')

live, chats, asking = Channel(), {}, Lock()  # `chats`: the turns of each visitor
markdown = MarkdownIt('commonmark', {'html': False}).enable('table')  # tags that a model writes stay text

def Turn(turn):
    "A question, and the answer: empty while it comes, for the stream brings all of it."
    if turn.end is None: answer = Div(id=f'text-{turn.id}', cls='coming'), SSESource(watch.to(id=turn.id), shared=True)
    else: answer = Div(NotStr(markdown.render(turn.text))), Small(turn.end)
    return Li(P(turn.prompt), *answer, id=turn.id)

def finish(turn, end):
    turn.end = end
    return swap.replace(Turn(turn), turn.id)

async def answer(turn, messages):
    "Runs once, whoever watches: text as it comes, and the same as Markdown at the end."
    async for piece in tokens(model.ask(messages)):
        turn.text += piece
        yield swap.append(piece, f'text-{turn.id}')
    yield finish(turn, '')

@rt('/')
async def index(session):
    chat, after = session.setdefault('chat', unqid()), await live.tail()
    return layout.example('Answer', 'Ask. Reload this page while the answer comes: nothing is missing, and the model is asked once.', Div(
        Div(Ol(*map(Turn, chats.get(chat, [])), id='turns'), role='log', tabindex=0, aria_label='Conversation', cls='talk'),
        Form(Textarea(id='prompt', rows=1, required=True, placeholder='Ask something', aria_label='Question'), Button('Send'),
             hx_post=send.to(chat=chat), hx_swap='none', hx_on__after_request='if (event.detail.successful) this.reset()'),
        Button('Stop', id='stop', hx_post=stop.to(chat=chat), hx_swap='none'), cls='ask'),
        SSESource(news.to(chat=chat), after=after, shared=True), Script(src='/answer.js'), code=__file__, more=[model.__file__])

@rt
async def send(chat: str, prompt: str):
    async with asking:
        if not prompt.strip() or any(turn.end is None for turn in chats.setdefault(chat, [])): return Response(status_code=409)
        turn = SimpleNamespace(id=unqid(), prompt=prompt.strip(), text='', end=None)
        await live.run(answer(turn, model.said([*chats[chat], turn])), turn.id, unwatched=10, stopped=lambda: finish(turn, 'Stopped.'),
                       failed=lambda error: finish(turn, 'Sorry, the answer broke off. Please ask again.'))
        chats[chat].append(turn)  # now: who shows a turn finds its run
    await live.publish(swap.upsert(Turn(turn), '#turns'), chat)

@rt
def news(chat: str): return live.response(chat)
@rt
def watch(id: str): return live.watch(id, lost=swap.update('The server was restarted. Please ask again.', f'text-{id}'))
@rt
async def stop(chat: str):
    for turn in chats.get(chat, [])[-1:]: await live.stop(turn.id)
