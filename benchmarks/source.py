"What every server streams."
import asyncio, re
from time import monotonic_ns

FILLER = 'x' * 85
MARK = b'~'  # nothing else that is sent has this byte, so it counts events
MARKED = 'x' * 168 + MARK.decode()  # the filler of longer ones
PAYLOAD = re.compile(rf'(\d{{7}}) (\d+) (?:{FILLER}|{MARKED})'.encode())
WARM_UP = 100  # events

PAUSES = {
    'eager': None,  # the source never suspends
    'suspending': 0,  # it lets the loop run after every event
    'paced': 0.002,  # seconds between two events
    'silent': None,  # nothing comes, and no end
}


def payload(number, filler=FILLER):
    "The text of one event: its number, when it was made, and filler."
    return f'{number:07} {monotonic_ns()} {filler}'


class Source:
    "The streams of one server process; the first is a short one, to warm up."
    def __init__(self, variant, count): self.variant, self.count, self.warm = variant, count, False

    @property
    def silent(self):
        "Whether nothing will come of the next stream."
        return self.warm and self.variant == 'silent'

    def __call__(self, item=str):
        "A generator function: each call is the next stream, which yields `item(text)` for every event."
        async def events():
            silent, pause, count = self.silent, PAUSES[self.variant], self.count if self.warm else WARM_UP
            self.warm = True
            if silent: await asyncio.Event().wait()
            for number in range(count):
                yield item(payload(number))
                if pause is not None: await asyncio.sleep(pause)
        return events
