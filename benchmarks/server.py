"A contender in a process of its own, and what that process uses."
import ctypes, os, re, resource, signal, socket, subprocess, sys
from pathlib import Path
from pkgutil import resolve_name
from time import clock_gettime_ns, monotonic_ns, process_time_ns

from .source import Source

ROOT = Path(__file__).parent.parent
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []
SERVER_CORE, CLIENT_CORE = (CORES[0], CORES[-1]) if len(CORES) > 1 else (None, None)
PINNING = 'the server on one, the client on the other' if len(CORES) > 1 else 'server and client where the system puts them'
DISTURBED = 0.02  # of the time; a run with more is repeated


def pin(core):
    "Run this process on one core."
    if core is not None: os.sched_setaffinity(0, [core])


def allow_many_files():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def command(module, *args):
    "What starts `main` of a module of this package, in a process beside the client."
    core = '' if SERVER_CORE is None else SERVER_CORE
    return [sys.executable, '-m', f'benchmarks.{module}', *map(str, (core, os.getpid(), *args))]


def prepare(core, parent):
    "In such a process: leave the client its core, and end with it, however and whenever that ends."
    pin(int(core) if core else None)
    end_with_parent()
    if os.getppid() != int(parent): sys.exit('the client has gone')  # before it could be asked for


def end_with_parent():
    if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Server:
    "A context manager: a fresh process that serves `count` events of a source's `variant`, which has not answered yet."
    def __init__(self, contender, variant, count=0): self.contender, self.variant, self.count = contender, variant, count

    def __enter__(self):
        with socket.create_server(('127.0.0.1', 0), backlog=4096) as sock:
            self.port = sock.getsockname()[1]
            self.process = self.start(sock.fileno())
        return self

    def start(self, fd):
        "The process, which listens on the socket `fd`."
        return subprocess.Popen(command('server', self.contender.spec, self.variant, self.count, fd), cwd=ROOT, pass_fds=[fd])

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()

    @property
    def cpu(self):
        "Nanoseconds of CPU, user and system, of all threads so far."
        return clock_gettime_ns(~self.process.pid << 3 | 2)  # clock_getcpuclockid(3), which Python lacks

    @property
    def memory(self):
        "Bytes that no other process shares."
        rollup = Path(f'/proc/{self.process.pid}/smaps_rollup').read_text()
        return 1024 * sum(map(int, re.findall(r'^Private_(?:Clean|Dirty): *(\d+) kB', rollup, re.M)))


class Meter:
    """The nanoseconds that a server and its client, which is this process, use, and those for which they wait for a core.

    A context manager: what counts is what happens in its block."""
    def __init__(self, server): self.server = server

    def __enter__(self):
        self.start = self.read()
        return self

    def __exit__(self, *error):
        self.wall, self.server_cpu, self.client_cpu, self.waited = (now - then for now, then in zip(self.read(), self.start))

    def read(self): return monotonic_ns(), self.server.cpu, process_time_ns(), waited(self.server.process.pid) + waited('self')

    @property
    def circumstances(self):
        "How long it took, and for which share of that the server worked, the client did, and either waited for a core that others had."
        shares = {'server_busy': self.server_cpu, 'client_busy': self.client_cpu, 'disturbed': self.waited}
        return {'wall_s': self.wall / 1e9} | {name: spent / self.wall for name, spent in shares.items()}


def waited(pid): return int(Path(f'/proc/{pid}/schedstat').read_text().split()[1])


def main(core, parent, contender, variant, count, fd):
    prepare(core, parent)
    resolve_name(contender)().serve(Source(variant, int(count)), socket.socket(fileno=int(fd)))


if __name__ == '__main__': main(*sys.argv[1:])
