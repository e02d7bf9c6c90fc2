"Many clients and no event: what waiting costs, and what heartbeats do."
import asyncio
from dataclasses import dataclass

import uvloop

from .benchmark import Figure, Target
from .client import Fault, streams, warm_up
from .contenders import HEARTBEAT
from .server import Meter, Server


@dataclass(frozen=True)
class IdleBenchmark:
    connections: int = 2000
    settling: float = 2  # seconds after the last connection
    window: float = 4  # seconds that are measured
    rounds: tuple = (3,)  # of each variant

    name = 'idle'
    title = 'Clients that wait'
    variants = 'silent',
    figures = (
        Figure('silent', 'memory_kib', 'Memory per waiting connection, KiB'),
        Figure('silent', 'cpu_us', 'CPU per heartbeat, µs'),
    )
    targets = (
        Target('silent', 'memory_kib', 'sse-starlette', 1/2, 'memory per waiting connection: half'),
        Target('silent', 'cpu_us', 'sse-starlette', 1/3, 'CPU per heartbeat: a third'),
    )

    def takes(self, contender, variant): return contender.serves

    def measure(self, contender, variant):
        with Server(contender, variant) as server: return uvloop.run(self.wait(server))

    async def wait(self, server):
        await warm_up(server)
        before = server.memory
        async with streams(server, self.connections) as connections:
            await asyncio.sleep(self.settling)
            with Meter(server) as meter: await asyncio.sleep(self.window)
            memory = (server.memory - before) / 1024 / self.connections
            beats = sum(self.beats(stream, meter, server) for stream in connections)
        beating = {'cpu_us': meter.server_cpu / 1e3 / beats, 'heartbeats': beats} if beats else {}
        return {'memory_kib': memory} | beating | meter.circumstances

    def beats(self, stream, meter, server):
        "The heartbeats that came in time. Raises `Fault` for an event, or where more than half of the heartbeats lack."
        count = sum(0 <= arrived - meter.start[0] < meter.wall for arrived in stream.check(0)[1])
        expected = self.window / HEARTBEAT if server.contender.heartbeat else 0
        if count < expected / 2: raise Fault(f'{stream.name}: expected {expected:.0f} heartbeats, received {count}')
        return count
