"Serve the gallery on this machine: on the port that `PORT` names, else on a free one."
import os, signal, socket, sys
from contextlib import suppress

import uvicorn

from .gallery import app

def listen(port):
    "A socket of this machine that takes connections from now on."
    try: return socket.create_server(('127.0.0.1', port))
    except OSError as e: sys.exit(f'Cannot listen on port {port}: {e.strerror}')

def main():
    sock = listen(int(os.environ.get('PORT') or 0))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that temporary files go
    print(f'Gallery: http://127.0.0.1:{sock.getsockname()[1]}', flush=True)
    with suppress(KeyboardInterrupt): uvicorn.Server(uvicorn.Config(app, log_level='warning')).run([sock])

if __name__ == '__main__': main()
