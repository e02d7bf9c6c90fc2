"A channel over the log that the environment names, for several workers."
import os

from fasthtml.common import fast_app

from fasthtml_sse import Channel, MemoryLog, RedisLog, SQLiteLog

kind, _, place = os.environ['LOG'].partition(' ')
channel = Channel({'sqlite': SQLiteLog, 'redis': RedisLog, 'memory': lambda _: MemoryLog()}[kind](place))
app, rt = fast_app(secret_key='of no use')

@rt
def ok(): return 'ok'

@rt
async def tail(): return {'id': await channel.tail()}

@rt
async def publish(topic: str, text: str): return {'id': await channel.publish(text, topic), 'worker': os.getpid()}

@rt
def stats(): return {'error': channel.stats().error, 'readers': channel.stats().readers, 'worker': os.getpid()}

@rt
def events(topics: str): return channel.response(*topics.split(), heartbeat_interval=0.5)

@rt
async def logout(topic: str): await channel.disconnect(topic)
