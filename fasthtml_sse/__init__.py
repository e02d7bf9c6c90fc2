"Live FastHTML pages over server-sent events: `from fasthtml_sse import *`."
__version__ = "0.1.0"

from .core import swap
from .core.event import EventParser, Frame, ServerSentEvent, to_event
from .core.hub import end_streams
from .core.response import SSEResponse, last_event_id
from .core.streaming import OOBStreamBuilder, SSEStream, StreamConfig, sse
from .page import ConnectionStatus, SSESource, sse_headers, sse_script

__all__ = ['ConnectionStatus', 'EventParser', 'Frame', 'OOBStreamBuilder', 'SSEResponse', 'SSESource', 'SSEStream', 'ServerSentEvent',
           'StreamConfig', 'end_streams', 'last_event_id', 'sse', 'sse_headers', 'sse_script', 'swap', 'to_event']
