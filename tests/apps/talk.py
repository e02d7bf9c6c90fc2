"A chat with a model: all that it needs, in forty lines."
import asyncio

from fasthtml.common import *
from fasthtml_sse import *
from markdown_it import MarkdownIt
from openai import AsyncOpenAI

app, rt = fast_app(hdrs=(*sse_headers(), Style('pre { white-space: pre-wrap }')))
openai, live, chat, asking = AsyncOpenAI(), Channel(), {}, asyncio.Lock()
markdown = MarkdownIt('commonmark', {'html': False}).enable('table')

def Turn(id, turn):
    if 'end' in turn: answer = NotStr(markdown.render(turn['assistant'])), Small(turn['end'])
    else: answer = Pre(id=f'text-{id}'), SSESource(watch.to(id=id))
    return Article(B(turn['user']), *answer, id=id)

def finish(id, turn, end=''):
    turn['end'] = end
    return swap.replace(Turn(id, turn), id)

async def answer(id, turn, turns):
    said = [dict(role=role, content=t[role]) for t in turns for role in ('user', 'assistant') if t[role]]
    async for piece in tokens(openai.chat.completions.create(model='gpt-5.4-mini', messages=said, stream=True)):
        turn['assistant'] += piece
        yield swap.append(piece, f'text-{id}')
    yield finish(id, turn)

def Ask():
    enter = "if (event.key == 'Enter' && !event.shiftKey) { event.preventDefault(); this.form.requestSubmit() }"
    return Form(Textarea(name='prompt', onkeydown=enter, autofocus=True), Hidden(unqid(), name='id'), Button('Send'),
        Button('Stop', type='button', hx_post=stop, hx_swap='none'), hx_post=send, hx_swap='outerHTML')
@rt
def index():
    follows = 'height: 20rem; overflow: auto; display: flex; flex-direction: column-reverse'
    return Titled('Talk', ConnectionStatus(), Div(Div(*map(Turn, chat, chat.values()), id='turns'), style=follows), Ask())
@rt
async def send(id: str, prompt: str):
    async with asking:
        if id not in chat:
            turn = dict(user=prompt, assistant='')
            await live.run(answer(id, turn, [*chat.values(), turn]), id, unwatched=10,
                failed=lambda error: finish(id, turn, 'Sorry.'), stopped=lambda: finish(id, turn, 'Stopped.'))
            chat[id] = turn
    return Ask(), swap.append(Turn(id, chat[id]), '#turns')
@rt
def watch(id: str): return live.watch(id, lost=swap.update('Please ask again.', f'text-{id}'))
@rt
async def stop():
    for id in [*chat][-1:]: await live.stop(id)

serve()
