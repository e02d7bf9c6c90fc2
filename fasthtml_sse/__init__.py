"Live FastHTML pages over server-sent events: `from fasthtml_sse import *`."
__version__ = "0.1.0"

from .broadcast.channel import Channel, ChannelStats, Subscription
from .broadcast.live import Live
from .broadcast.log import Entry, Gap, MemoryLog
from .broadcast.redis import RedisLog
from .broadcast.run import Run
from .broadcast.sqlite import SQLiteLog
from .broadcast.store import LogError
from .core import swap
from .core.event import EventParser, Frame, ServerSentEvent, to_event
from .core.hub import end_streams
from .core.model import tokens
from .core.response import SSEResponse, last_event_id
from .core.streaming import OOBStreamBuilder, SSEStream, StreamConfig, sse
from .page import ConnectionStatus, SSESource, sse_headers, sse_script

__all__ = ['Channel', 'ChannelStats', 'ConnectionStatus', 'Entry', 'EventParser', 'Frame', 'Gap', 'Live', 'LogError', 'MemoryLog',
           'OOBStreamBuilder', 'RedisLog', 'Run', 'SQLiteLog', 'SSEResponse', 'SSESource', 'SSEStream', 'ServerSentEvent',
           'StreamConfig', 'Subscription', 'end_streams', 'last_event_id', 'sse', 'sse_headers', 'sse_script', 'swap', 'to_event',
           'tokens']
