"One client, one stream: what an event costs the server, and how late it comes."
from dataclasses import dataclass

import uvloop

from .benchmark import Figure, Target
from .client import receive, warm_up
from .server import Meter, Server
from .source import PAUSES

LATENCY = f"Latency at {1 / PAUSES['paced']:.0f} events/s, µs"


def percentile(ordered, share): return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass(frozen=True)
class StreamBenchmark:
    events: int = 50_000
    paced_events: int = 400
    rounds: tuple = (5, 7, 13)  # of each variant; short ones and many where they differ most

    name = 'stream'
    title = 'One client, one stream'
    variants = 'eager', 'suspending', 'paced'
    figures = (
        Figure('eager', 'cpu_us', 'CPU per event, µs', 'source never suspends'),
        Figure('suspending', 'cpu_us', 'CPU per event, µs', 'source suspends after each'),
        Figure('paced', 'p50_us', LATENCY, 'median'),
        Figure('paced', 'p99_us', LATENCY, '99th percentile'),
    )
    targets = (
        Target('eager', 'cpu_us', 'EventStream', 1/5, 'a source that never suspends: five times the events per CPU second'),
        Target('suspending', 'cpu_us', 'EventStream', 1, 'a source that suspends after each: no more CPU per event', noise=0.03),
        Target('paced', 'p50_us', 'EventStream', 1, 'median latency: no later', noise=0.10),
        Target('paced', 'p99_us', 'EventStream', 1, '99th percentile of latency: no later', noise=0.25),
    )

    def takes(self, contender, variant): return contender.serves

    def measure(self, contender, variant):
        events = self.paced_events if variant == 'paced' else self.events
        with Server(contender, variant, events) as server: return uvloop.run(self.stream(server))

    async def stream(self, server):
        await warm_up(server)
        with Meter(server) as meter: stream = await receive(server)
        events, _ = stream.check(server.count)
        late = sorted((arrived - made) / 1e3 for made, arrived in events)
        latency = {'p50_us': percentile(late, 0.5), 'p99_us': percentile(late, 0.99)} if server.variant == 'paced' else {}
        return {'cpu_us': meter.server_cpu / 1e3 / server.count} | latency | meter.circumstances
