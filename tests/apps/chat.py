"A chat as its users write it, over the log that the environment names; for any number of servers beside each other."
import os

from fasthtml.common import *

from fasthtml_sse import *

hdrs = Link(rel='icon', href='data:,'), *sse_headers()
app, rt = fast_app(htmx4=os.environ['BUILD'].startswith('4.'), hdrs=hdrs, secret_key='of no use')
kind, place = os.environ['LOG'].split()
chat = Channel({'sqlite': SQLiteLog, 'redis': RedisLog}[kind](place))

@rt
def ok(): return 'ok'

@rt
async def index():
    form = Form(Input(name='text'), hx_post=send, hx_swap='none')
    return Titled('Chat', Ul(id='msgs'), form, SSESource(events, after=await chat.tail(), id='source'))

@rt
async def send(text: str): await chat.publish(swap.append(Li(text), '#msgs'))

@rt
def events(): return chat.response()
