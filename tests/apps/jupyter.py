"The app of `streams`, served from a thread as in a notebook, until SIGTERM stops the server."
import signal, sys
from threading import Event

from fasthtml.jupyter import JupyUvi

from tests.apps.streams import app

stop = Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
server = JupyUvi(app, port=int(sys.argv[1]), host='127.0.0.1')
stop.wait()
server.stop()
