"""The safeguards of the package, each taken out once: does the test that guards it fail?

`python -m tests.mutations [part of a name ...]` tries those whose names hold a part, or all. No test runs it: it takes long."""
import argparse, os, re, signal, subprocess, sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

from tools.project import PACKAGE, ROOT, copy_into

OPTIONS = ('-x', '-q', '--tb=no', '-p', 'no:cacheprovider', '-p', 'no:randomly', '--no-header', '-m', 'not full', '-o', 'timeout=30',
    '--hypothesis-seed=0')
LIMIT = 120  # seconds for the tests of a mutation; who takes longer hangs
CHECK_LIMIT = 1200  # seconds for all of them, with nothing broken


class Mutation(NamedTuple):
    "A safeguard that is taken out."
    name: str  # what is broken then
    file: str  # below the package
    old: str  # what stands there once
    new: str
    by: str  # the test that guards it, below `tests`


# By where they are. A test is named where its file takes long
LOG = [
    Mutation('a batch holds more than its limit', 'broadcast/log.py',
        'if entries and size > LIMIT:', 'if entries and size > 100 * LIMIT:', 'unit/test_channel.py'),
    Mutation('an event that is larger than a batch is never read', 'broadcast/log.py',
        'if entries and size > LIMIT:', 'if size > LIMIT:', 'unit/test_log.py::test_events_larger_than_a_batch_pass'),
    Mutation('a publish wakes the readers of all topics', 'broadcast/log.py',
        'for topic in (None, *called)', 'for topic in self.readers',
        'unit/test_log.py::test_a_publish_wakes_only_the_readers_of_its_topic'),
    Mutation('a burst wakes each reader for each event', 'broadcast/log.py',
        'if self._going: return', 'if False: return', 'unit/test_log.py::test_a_burst_wakes_each_reader_once'),
    Mutation('a round over many readers keeps the loop to itself', 'broadcast/log.py',
        'while self._waiting and monotonic() < turn_ends:', 'while self._waiting:',
        'unit/test_log.py::test_a_round_over_many_readers_gives_others_their_turn'),
    Mutation('a reader that fails leaves the others asleep', 'broadcast/log.py',
        '        finally:\n            with self._lock: self._going',
        '        except ZeroDivisionError: pass\n        else:\n            with self._lock: self._going',
        'unit/test_log.py::test_a_reader_that_fails_does_not_keep_the_others_asleep'),
    Mutation('a topic without readers stays in the audience', 'broadcast/log.py',
        'if not self.readers[topic]: del', 'if False: del', 'unit/test_channel.py'),
    Mutation('a topic is forgotten, and what it has lost with it', 'broadcast/log.py',
        'self._forgotten = max(self._forgotten, topic.trimmed)', 'pass',
        'unit/test_log.py::test_a_topic_that_was_forgotten_and_begins_again_tells_who_missed_what_it_had'),
    Mutation('a topic that somebody waits for is forgotten', 'broadcast/log.py',
        'if topic.positions or topic.readers: return', 'if topic.positions: return',
        'unit/test_log.py::test_a_reader_that_keeps_up_is_not_told_when_other_topics_are_trimmed_and_forgotten'),
    Mutation('a topic that nobody waits for any more is kept', 'broadcast/log.py',
        'for name in topics_of(reader): self._leave(name, 1)', 'pass', 'unit/test_channel.py'),
    Mutation('positions of events that are gone pile up', 'broadcast/log.py',
        'if len(self._sequence) > 2 * len(self._entries) + 100:', 'if False:',
        'unit/test_log.py::test_what_is_gone_leaves_nothing_behind'),
    Mutation('all topics together know no bound', 'broadcast/log.py',
        'if len(self._entries) > IN_ALL * self.maxlen:', 'if False:',
        'unit/test_log.py::test_all_topics_together_keep_ten_times_as_much_and_the_oldest_go_first'),
    Mutation('a busy topic makes a gap for a quiet one', 'broadcast/log.py',
        'if topics is None: return self._trimmed', 'return self._trimmed',
        'unit/test_log.py::test_a_busy_topic_makes_no_gap_for_a_quiet_one'),
    Mutation('topics are read one after another', 'broadcast/log.py',
        'later = merge(*(', 'later = chain(*(', 'unit/test_log.py::test_topics_are_tags_on_one_sequence'),
    Mutation('a number with zeros before it is an id', 'broadcast/log.py',
        "and f'{epoch}-{int(number)}' == id else None", 'else None', 'unit/test_log.py::test_what_is_no_id_of_the_log_is_told_as_a_gap'),
    Mutation('an id beyond the end is believed', 'broadcast/log.py',
        '<= position <= self.end: return None', '<= position: return None',
        'unit/test_log.py::test_what_is_no_id_of_the_log_is_told_as_a_gap'),
    Mutation('a process that was forked goes on with the log of its parent', 'broadcast/log.py',
        'after_in_child=lambda: [log._begin() for log in made]', 'after_in_child=lambda: None',
        'unit/test_log.py::test_a_process_that_was_forked_begins_a_log_of_its_own'),
    Mutation('a loop that was closed disturbs publishers', 'broadcast/log.py',
        'except RuntimeError:  # its loop is closed', 'except ZeroDivisionError:',
        'unit/test_log.py::test_a_loop_that_was_closed_with_readers_in_it_disturbs_no_publisher'),
    Mutation('batches are kept for others without a bound', 'broadcast/log.py',
        'if len(self._batches) < SHARED:', 'if True:', 'unit/test_log.py'),
]

STORE = [
    Mutation('who gives up a read cancels it for the others', 'broadcast/store.py',
        'future.set_running_or_notify_cancel()  # who', 'pass  # who', 'unit/test_store.py'),
    Mutation('who gives up waiting for the end cancels it for the others', 'broadcast/store.py',
        'self._started.set_running_or_notify_cancel()  # who', 'pass  # who', 'unit/test_store.py'),
    Mutation('an append that was given up breaks those beside it', 'broadcast/store.py',
        'for future, event in all_waiting if future.set_running_or_notify_cancel()]', 'for future, event in all_waiting]',
        'unit/test_store.py'),
    Mutation('a read that fails is not tried again', 'broadcast/store.py',
        'if self._closed.is_set(): raise', 'raise', 'unit/test_store.py'),
    Mutation('an id that was given out just now is beyond the end', 'broadcast/store.py',
        'with self._lock: self._seen = max(self._seen, position)', 'pass',
        'unit/test_log.py::test_without_an_id_reading_begins_with_what_is_published_then'),
    Mutation('the end goes back to an earlier id', 'broadcast/store.py',
        'with self._lock: self._seen = max(self._seen, position)', 'with self._lock: self._seen = position', 'unit/test_store.py'),
    Mutation('readers that stand at one place read it once each', 'broadcast/store.py',
        'if key in self._running: return self._running[key]', 'pass', 'unit/test_store.py'),
    Mutation('each reader has a follower', 'broadcast/store.py',
        'if self._follower or self._closed.is_set(): return', 'if self._closed.is_set(): return',
        'process/test_redis.py::test_one_connection_follows_for_all_readers'),
    Mutation('a follower goes on when its log was emptied', 'broadcast/store.py',
        'if page is None: return self._mirror_anew()', 'if page is None: return',
        'process/test_redis.py::test_readers_of_a_log_that_was_emptied_are_told'),
    Mutation('an error of publishers stays though the log works again', 'broadcast/store.py',
        'for health in (self._health, self._reads.health, self._appends.health): health.note(None)', 'self._health.note(None)',
        'process/test_redis.py::test_the_error_goes_with_its_cause_though_nobody_publishes'),
    Mutation('who waits for the end waits on when the log is closed', 'broadcast/store.py',
        "if not self._started.done(): self._started.set_exception(LogError('the log is closed'))", 'pass', 'unit/test_store.py'),
    Mutation('a closed log takes what nobody will read', 'broadcast/store.py',
        "if self.closed: raise LogError('the log is closed')", 'pass', 'unit/test_store.py'),
    Mutation('the logger is told of each attempt at a store', 'broadcast/store.py',
        'if self.what and error and not self.error:', 'if self.what and error:', 'unit/test_store.py'),
    Mutation('a store that fails is tried again without a pause', 'broadcast/store.py',
        'self._closed.wait(RETRY)', 'pass', 'unit/test_store.py'),
]

SQLITE = [
    Mutation('a process that was forked waits for the threads of its parent', 'broadcast/log.py',
        'after_in_child=lambda: [log._begin() for log in made]', 'after_in_child=lambda: None',
        'process/test_sqlite.py::test_a_process_that_is_forked_off_has_connections_of_its_own'),
    Mutation('a file that another one opens is not waited for', 'broadcast/sqlite.py',
        'if e.sqlite_errorcode & 255 != sqlite3.SQLITE_BUSY or monotonic() > ends: raise', 'raise',
        'process/test_sqlite.py::test_a_database_that_somebody_uses_is_waited_for'),
    Mutation('two make the tables', 'broadcast/sqlite.py',
        'if db.execute(made).fetchone(): return  # by', 'pass  # by',
        'process/test_sqlite.py::test_tables_that_another_process_makes_meanwhile_are_its_own'),
    Mutation('a file that was removed is written on', 'broadcast/sqlite.py',
        'if self._inode not in (None, inode(self.path)): raise', 'if False: raise',
        'process/test_sqlite.py::test_a_file_that_is_removed_is_said_to_be'),
    Mutation('readers of the process wait for the next look', 'broadcast/sqlite.py',
        '        self.wake()\n        return positions', '        return positions',
        'process/test_sqlite.py::test_nobody_waits_for_the_next_look_at_what_this_process_does_itself'),
    Mutation('calls pile up where nobody reads', 'broadcast/sqlite.py',
        'if self._wakes.empty(): self._wakes.put(True)', 'self._wakes.put(True)',
        'process/test_sqlite.py::test_who_only_publishes_piles_nothing_up'),
    Mutation('a file forgets a topic, and what it has lost with it', 'broadcast/sqlite.py',
        'set forgotten = max(forgotten, coalesce(', 'set forgotten = min(forgotten, coalesce(',
        'unit/test_log.py::test_a_topic_that_was_forgotten_and_begins_again_tells_who_missed_what_it_had'),
    Mutation('a later removal of an earlier event hides a gap', 'broadcast/sqlite.py',
        'set count = count - ?, trimmed = max(trimmed, ?) where topic = ?', 'set count = count - ?, trimmed = ? where topic = ?',
        'process/test_sqlite.py::test_what_is_gone_stays_gone_though_the_times_are_not_in_order'),
]

REDIS = [
    Mutation('an append whose answer was lost is repeated', 'broadcast/redis.py',
        'retry=Retry(NoBackoff(), 0)', 'retry=Retry(NoBackoff(), 1)',
        'process/test_redis.py::test_a_redis_that_hangs_is_an_error_in_time_and_an_append_is_never_repeated'),
    Mutation('a Redis that hangs is waited for', 'broadcast/redis.py',
        'socket_timeout=TIMEOUT', 'socket_timeout=None',
        'process/test_redis.py::test_a_redis_that_hangs_is_an_error_in_time_and_an_append_is_never_repeated'),
    Mutation('a log whose floors are gone has none', 'broadcast/redis.py',
        "if redis.call('EXISTS', log, gone) < 2 then", "if redis.call('EXISTS', log) < 1 then",
        'process/test_redis.py::test_readers_of_a_log_that_was_emptied_are_told'),
    Mutation('a stream forgets a topic, and what it has lost with it', 'broadcast/redis.py',
        "        advance('forgotten', id)\n    end\n    return", '    end\n    return',
        'unit/test_log.py::test_a_topic_that_was_forgotten_and_begins_again_tells_who_missed_what_it_had'),
    Mutation('a log that begins anew under a clock that is behind is not seen', 'broadcast/redis.py',
        'return bool(found) or self.tail() != after', 'return bool(found)',
        'process/test_redis.py::test_a_log_that_begins_anew_under_a_clock_that_is_behind_is_told_of'),
    Mutation('errors show the password of a Redis', 'broadcast/redis.py',
        "raise LogError(f'Redis at {self._place}: {e}')", "raise LogError(f'Redis at {self.url}: {e}')",
        'process/test_redis.py::test_errors_do_not_show_passwords'),
    Mutation('an id after which none can follow is believed', 'broadcast/redis.py',
        'if id_of(position) == id and position < LAST else None', 'if id_of(position) == id else None',
        'process/test_redis.py::test_an_id_that_no_stream_has_is_told_of'),
]

CHANNEL = [
    Mutation('an event with an id of its own is published', 'broadcast/channel.py',
        'if made.id is not None: raise', 'if False: raise', 'unit/test_channel.py'),
    Mutation('a frame that holds two events is published', 'broadcast/channel.py',
        'if isinstance(made, Frame): return _checked(made)', 'if isinstance(made, Frame): return made', 'unit/test_channel.py'),
    Mutation('a topic that a log cannot carry is taken', 'broadcast/channel.py',
        "if '\\0' in topic or not topic.isascii()", 'if not topic.isascii()',
        'unit/test_log.py::test_a_topic_that_a_log_cannot_carry_is_refused_and_never_lost'),
    Mutation('a heartbeat passes an event that was not sent', 'broadcast/channel.py',
        'if batch is None or batch.entries: return HEARTBEAT', 'if batch is None: return HEARTBEAT', 'unit/test_channel.py'),
    Mutation('a gap is not told again after a cut', 'broadcast/channel.py',
        'position_frame(self._log.id(self._log.end) + UNTOLD)', 'position_frame(self._log.id(self._log.end))', 'unit/test_channel.py'),
    Mutation('what comes while a snapshot is made is lost', 'broadcast/channel.py',
        '        self._position = position\n', '        self._position = self._log.end\n', 'unit/test_channel.py'),
    Mutation('events overtake the snapshot that is being made', 'broadcast/channel.py',
        'if self._task or self.ended: return head', 'if self.ended: return head', 'unit/test_channel.py'),
    Mutation('events follow the last words', 'broadcast/channel.py',
        'if self._task or self.ended: return head', 'if self._task: return head', 'unit/test_channel.py'),
    Mutation('a long catch-up stops after a batch', 'broadcast/channel.py',
        'if batch.more: self._loop', 'if False: self._loop', 'unit/test_channel.py'),
    Mutation('a shutdown waits for a snapshot', 'broadcast/channel.py',
        '        if self._task: self._task.cancel()\n', '', 'unit/test_channel.py'),
    Mutation('a response that is over still reads', 'broadcast/channel.py',
        '        self.ended = True\n        self._log.discard(self)\n', '        self.ended = True\n', 'unit/test_channel.py'),
    Mutation('a snapshot is made on for who has left', 'broadcast/channel.py',
        '            task.cancel()\n            await asyncio.wait', '            await asyncio.wait', 'unit/test_channel.py'),
    Mutation('what comes before a subscription waits is missed', 'broadcast/channel.py',
        'if batch and not batch.entries and not self.ended: await', 'if not self.ended: await', 'unit/test_channel.py'),
    Mutation('two may wait for one subscription', 'broadcast/channel.py',
        'if self._waiting: raise RuntimeError', 'if False: raise RuntimeError', 'unit/test_channel.py'),
    Mutation('a loop that is closed keeps a channel from closing', 'broadcast/channel.py',
        '            try: self._loop.call_soon_threadsafe(self.end)\n            except RuntimeError: pass  # the loop is closed',
        '            self._loop.call_soon_threadsafe(self.end)', 'unit/test_channel.py'),
    Mutation('a response of a closed channel stays open', 'broadcast/channel.py',
        'if self._closed: reader.stop()', 'pass', 'unit/test_channel.py'),
    Mutation('a closed channel publishes', 'broadcast/channel.py',
        "if self._closed: raise LogError('the channel is closed')", 'pass', 'unit/test_channel.py'),
    Mutation('readers cannot come while they are counted', 'broadcast/channel.py',
        'with self._lock: return [reader', 'return [reader', 'unit/test_channel.py'),
    Mutation('what a client sent writes JSON of its own', 'broadcast/channel.py',
        "json.dumps({'after': after})", '\'{"after": "%s"}\' % after', 'unit/test_channel.py'),
    Mutation('a snapshot does not see the context of its request', 'broadcast/channel.py',
        'self._loop.create_task(work, context=self._context)', 'self._loop.create_task(work)', 'unit/test_channel.py'),
    Mutation('a channel warns of several workers again and again', 'broadcast/channel.py',
        '        self._checked = True\n', '', 'unit/test_channel.py'),
]

EVENT = [
    Mutation('a carriage return ends the data and starts a field', 'core/event.py',
        "if '\\n' not in text and '\\r' not in text:", "if '\\n' not in text:", 'unit/test_event.py'),
    Mutation('the short way to a frame forgets carriage returns', 'core/event.py',
        "if '\\n' in data or '\\r' in data else", "if '\\n' in data else", 'unit/test_event.py'),
    Mutation('the name of an event may hold a NUL', 'core/event.py', "'\\r\\n\\0')", "'\\r\\n')", 'unit/test_event.py'),
    Mutation('text is taken for markup', 'core/event.py',
        'return escape(str.__str__(value), quote=False)', 'return str.__str__(value)', 'unit/test_event.py'),
    Mutation('a lone surrogate is found when it is sent', 'core/event.py', 'if not text.isascii():', 'if False:', 'unit/test_event.py'),
    Mutation('what JSON cannot say is written all the same', 'core/event.py', 'allow_nan=False', 'allow_nan=True', 'unit/test_event.py'),
    Mutation('digits of any script are a retry', 'core/event.py',
        'value.isascii() and value.isdigit()', 'value.isdigit()', 'unit/test_event.py'),
    Mutation('a line that is cut between CR and LF ends twice', 'core/event.py',
        'if self._after_cr and text:', 'if False:', 'unit/test_event.py'),
    Mutation('the id of an unfinished block counts', 'core/event.py',
        'self._id = value\n', 'self._id = self.last_event_id = value\n', 'unit/test_event.py'),
    Mutation('an event gets another name', 'core/event.py', 'if value.event is not None: raise', 'if False: raise', 'unit/test_event.py'),
]

SOURCE = [
    Mutation('to be cancelled is no failure', 'core/source.py',
        'return asyncio.CancelledError() if task.cancelled() else', 'return None if task.cancelled() else', 'unit/test_streaming.py'),
    Mutation('a source is interrupted in its clean-up', 'core/source.py',
        'if not self._closing: self._task.cancel()', 'self._task.cancel()', 'unit/test_streaming.py'),
    Mutation('a second cause interrupts again', 'core/source.py',
        'if self.ending or self.ended: return', 'if self.ended: return', 'unit/test_streaming.py'),
    Mutation('a source that ends its own stream is cancelled at once', 'core/source.py',
        'self._loop.call_soon(self._interrupt)', 'self._interrupt()', 'unit/test_streaming.py'),
    Mutation('a source does not wait for room', 'core/source.py',
        'if box._room <= 0: await box.vacancy()', 'pass', 'unit/test_response.py'),
    Mutation('a source that never suspends keeps the loop to itself', 'core/source.py',
        'elif monotonic() > turn_ends:', 'elif False:', 'unit/test_response.py'),
    Mutation('a burst after a pause is cut', 'core/source.py', 'if frame and len(box._frames) == 1:', 'if False:', 'unit/test_response.py'),
    Mutation('a clean-up that takes too long holds the stream', 'core/source.py',
        'self._linger = self._loop.call_later(LINGER, self._finish)', 'pass', 'unit/test_streaming.py'),
    Mutation('the patience with a clean-up outlives it', 'core/source.py',
        'if self._linger: self._linger.cancel()', 'pass', 'unit/test_streaming.py'),
    Mutation('a cancellation within the source is a proper end', 'core/source.py',
        'elif not (self.ending and task.cancelled()):', 'elif not task.cancelled():', 'unit/test_streaming.py'),
    Mutation('a sync source that blocks holds its response', 'core/source.py',
        'if not (self._step and self._step.cancelled()): await closed', 'await closed', 'unit/test_response.py'),
    Mutation('what a slow function makes for nobody stays open', 'core/source.py',
        'worker.call(lambda: [_close(source) for source in made])', 'pass', 'unit/test_streaming.py'),
    Mutation('a StopIteration that is raised is lost', 'core/source.py',
        'except (StopIteration, StopAsyncIteration) as e:', 'except ZeroDivisionError as e:', 'unit/test_streaming.py'),
    Mutation('a coroutine that is never started complains', 'core/source.py',
        'if inspect.iscoroutine(source): source.close()', 'pass', 'unit/test_streaming.py'),
    Mutation('a thread complains that the loop is closed', 'core/source.py',
        'except RuntimeError: pass  # the loop is closed, nobody', 'except ZeroDivisionError: pass  # nobody', 'unit/test_streaming.py'),
    Mutation('the thread of a source is left behind', 'core/source.py', '        self._worker.stop()\n', '', 'unit/test_streaming.py'),
]

HUB = [
    Mutation('who was not quiet gets a heartbeat', 'core/hub.py',
        'if _due(connection) <= time: connection.beat()', 'connection.beat()', 'unit/test_response.py'),
    Mutation('many heartbeats keep the loop to themselves', 'core/hub.py',
        '<= now and monotonic() < turn_ends:', '<= now:', 'unit/test_hub.py'),
    Mutation('a shorter interval waits for a longer one', 'core/hub.py',
        'if self._times[0] == time: self._wait()', 'if len(self._times) == 1: self._wait()', 'unit/test_response.py'),
    Mutation('a signal does not reach the server', 'core/hub.py', 'before(number, frame)', 'pass', 'unit/test_hub.py'),
    Mutation('a handler that was put above ours is taken away', 'core/hub.py',
        'if signal.getsignal(number) is handler:', 'if True:', 'unit/test_hub.py'),
    Mutation('a signal that would kill at once is caught', 'core/hub.py',
        'if not callable(before) or before', 'if before', 'unit/test_hub.py'),
    Mutation('a signal after the loop has closed is an error', 'core/hub.py', 'self.loop.is_closed() or ', '', 'unit/test_hub.py'),
    Mutation('a signal counts for ever', 'core/hub.py', 'monotonic() < Signals.last + NOTICE', 'Signals.last > 0', 'unit/test_hub.py'),
    Mutation('a stream that opens soon after the signal lives', 'core/hub.py',
        'if (self.servers or self.stopping) and', 'if self.servers and', 'unit/test_hub.py'),
    Mutation('end_streams ends what opens later', 'core/hub.py',
        'call_soon_threadsafe(_end, list(hub.open))', 'call_soon_threadsafe(_end, hub.open)', 'unit/test_response.py'),
    Mutation('a hub that is empty keeps its timer', 'core/hub.py', '        self.heartbeats.stop()\n', '', 'unit/test_response.py'),
    Mutation('all come back at once', 'core/hub.py',
        'randint(500, 3000)', '1000', 'process/test_server.py::test_fifty_streams_end_with_the_server'),
    Mutation('a server that starts when a stream is open is not seen', 'core/hub.py',
        'if address not in self._addresses:', 'if not self._addresses:',
        'process/test_server.py::test_a_server_that_starts_when_a_stream_is_open_is_seen'),
]

RESPONSE = [
    Mutation('a blocked socket is written to', 'core/response.py',
        '        if self.blocked or self.over: return\n', '        if self.over: return\n', 'unit/test_response.py'),
    Mutation('a stream that failed has a proper end', 'core/response.py',
        'if self.source.error is None and not self.over:', 'if not self.over:', 'unit/test_response.py'),
    Mutation('level cancellation stops a clean-up', 'core/response.py', 'shield=True', 'shield=False', 'unit/test_response.py'),
    Mutation('a request whose stream is over stays cancelled', 'core/response.py',
        'if self._called: self._task.uncancel()', 'pass', 'unit/test_response.py'),
    Mutation('a cancellation that comes as the stream ends is lost', 'core/response.py',
        'if not self._called or self._task.cancelling() > before + 1: raise', 'if not self._called: raise', 'unit/test_response.py'),
    Mutation('the patience with a client outlives its chunk', 'core/response.py',
        '        self._patience.cancel()\n', '', 'unit/test_response.py'),
    Mutation('a blocked socket gets a heartbeat', 'core/response.py',
        'if self.blocked or self.over: self.quiet_since', 'if self.over: self.quiet_since', 'unit/test_response.py'),
    Mutation('a heartbeat follows the end of the body', 'core/response.py',
        'if self.blocked or self.over: self.quiet_since', 'if self.blocked: self.quiet_since', 'unit/test_response.py'),
    Mutation('a heartbeat that fails stops those of others', 'core/response.py',
        'try: chunk = self.source.heartbeat()\n            except Exception as e: return self.fail(e)', 'chunk = self.source.heartbeat()',
        'unit/test_response.py'),
    Mutation('a connection that is over is kept for its next heartbeat', 'core/response.py',
        'self.hub.heartbeats.discard(self); self.hub.discard(self)', 'self.hub.discard(self)', 'unit/test_response.py'),
    Mutation('a send runs outside the context of its request', 'core/response.py',
        'try: self._context.run(fn, *args)', 'try: fn(*args)', 'unit/test_response.py'),
    Mutation('HEAD starts the source', 'core/response.py', "if scope['method'] == 'HEAD':", 'if False:', 'unit/test_response.py'),
    Mutation('proxies may hold a stream back', 'core/response.py', ", 'x-accel-buffering': 'no'", '', 'unit/test_response.py'),
    Mutation('an interval may be infinite', 'core/response.py', 'not isfinite(value) or ', '', 'unit/test_response.py'),
    Mutation('a client that never reads stays connected', 'core/response.py',
        'if isinstance(error, TimeoutError): self._abort()', 'pass', 'unit/test_response.py'),
    Mutation('a client that never reads holds the exit', 'core/response.py',
        'self._drain = self._drain or self._loop.call_later(', '(lambda *later: None)(',
        'process/test_server.py::test_clients_that_never_read_do_not_hold_the_exit'),
]

STREAMING = [
    Mutation('a stream that was stopped starts its source', 'core/streaming.py',
        'if self.stream._stopped: return self._pass_over()', 'pass', 'unit/test_streaming.py'),
    Mutation('a deadline outlives its stream', 'core/streaming.py',
        'if self._timer: self._timer.cancel()', 'pass', 'unit/test_streaming.py'),
    Mutation('closing words are said where none are wanted', 'core/streaming.py',
        'return words if self.config.send_close_message else', 'return words if True else', 'unit/test_streaming.py'),
    Mutation('a timeout ends a stream for good', 'core/streaming.py',
        'self.end, self.config.comment())', 'self.end, self.config.closing())', 'unit/test_streaming.py'),
    Mutation('a source advances before anybody asks', 'core/streaming.py', '        source.ask(0)\n', '', 'unit/test_streaming.py'),
    Mutation('a second cancellation stops the clean-up of a bare stream', 'core/streaming.py',
        'shield=True', 'shield=False', 'unit/test_streaming.py'),
    Mutation('a heartbeat is due after its item has come', 'core/streaming.py',
        'if timer: timer.cancel()', 'pass', 'unit/test_streaming.py'),
    Mutation('a shutdown does not end a bare stream', 'core/streaming.py', '        hub.add(source)\n', '', 'unit/test_streaming.py'),
    Mutation('comments count as messages', 'core/streaming.py',
        "_message_count += frame.startswith(b'data') or b'\\ndata' in frame", '_message_count += 1', 'unit/test_streaming.py'),
]

PAGE = [
    Mutation('content of mixed kinds is put into one wrapper', 'core/swap.py',
        'if len(carriers)==1: return', 'if carriers: return', 'unit/test_swap.py'),
    Mutation('rows travel outside a table', 'core/swap.py',
        'return _nest(FT(parent, (el,), {})) if parent else el', 'return el', 'unit/test_swap.py'),
    Mutation("a mark stays on the caller's element", 'core/swap.py',
        'el = sole_element(element, attrs)\n', 'el = sole_element(element, attrs)\n    el.attrs.update(attrs)\n', 'unit/test_swap.py'),
    Mutation('a script that may change is kept for ever', 'page.py',
        "if forever else 'no-cache'", "if True else 'no-cache'", 'unit/test_page.py'),
    Mutation('a route that needs parameters is an address', 'page.py', "if '{' in address: raise", 'if False: raise', 'unit/test_page.py'),
    Mutation('static files hide the script', 'page.py',
        'app.router.routes.insert(0, Route(path, serve))', 'app.router.routes.append(Route(path, serve))', 'unit/test_page.py'),
    Mutation('all users share one connection', 'page.py', "if shared == '': raise", 'if False: raise', 'unit/test_page.py'),
    Mutation('an app that ignores that its client has left runs on', 'testing.py', '        task.cancel()\n', '', 'unit/test_testing.py'),
    Mutation('an error of the app that nobody met is lost', 'testing.py',
        '    if error is not None: raise error\n', '', 'unit/test_testing.py'),
    Mutation('a test waits for an event that never comes', 'testing.py',
        'async with asyncio.timeout(timeout): event = await', 'event = await', 'unit/test_testing.py'),
]

SCRIPT = [
    Mutation('the script falls behind in characters of several bytes', 'sse_source.js',
        'decoder.decode(bytes, {stream: true})', 'decoder.decode(bytes)',
        'browser/test_event_source.py::test_any_bytes_are_parsed_as_by_the_browser'),
    Mutation('the script ends a line twice that is cut between CR and LF', 'sse_source.js',
        "(afterCR ? text.replace(/^\\n/, '') : text)", 'text',
        'browser/test_event_source.py::test_any_bytes_are_parsed_as_by_the_browser'),
    Mutation('the script takes an id with a NUL', 'sse_source.js',
        "field == 'id' && !value.includes('\\0')", "field == 'id'",
        'browser/test_event_source.py::test_any_bytes_are_parsed_as_by_the_browser'),
    Mutation('a page asks again without its id', 'sse_source.js',
        "...lastId && {'Last-Event-ID': lastId}", '', 'browser/test_page.py::test_a_lone_retry_is_honoured_and_ids_survive_errors'),
    Mutation('a page asks again with its first id', 'sse_source.js',
        '          id = message.id\n', '', 'browser/test_page.py::test_a_lone_retry_is_honoured_and_ids_survive_errors'),
    Mutation('an id that is not Latin breaks the request', 'sse_source.js',
        'String.fromCharCode(...new TextEncoder().encode(id))', 'id', 'browser/test_page.py::test_ids_of_any_text_come_back'),
    Mutation('attempts come at the same pace', 'sse_source.js',
        'retry * 2 ** failures++', 'retry', 'browser/test_page.py::test_attempts_come_ever_slower_and_each_page_at_its_own_time'),
    Mutation('all pages come back at the same time', 'sse_source.js',
        '* (1 + Math.random() / 2)', '', 'browser/test_page.py::test_attempts_come_ever_slower_and_each_page_at_its_own_time'),
    Mutation('a silent connection is taken for a live one', 'sse_source.js',
        'failures = 0, expectWithin(patience)', 'failures = 0, expectWithin(0)',
        'browser/test_page.py::test_a_silent_connection_is_taken_for_dead'),
    Mutation('a page that is denied asks on', 'sse_source.js',
        'if (denied || status == 204) return', 'if (status == 204) return', 'browser/test_page.py::test_some_answers_stop_the_source'),
    Mutation('a page that was sent to a login asks on', 'sse_source.js',
        '|| answer.ok && answer.redirected && !streams', '', 'browser/test_page.py::test_a_redirect_to_a_login_page_stops_the_source'),
    Mutation('close does not end it for good', 'sse_source.js',
        "if (event == 'close') this.close()", '', 'browser/test_page.py::test_close_ends_it_for_good'),
    Mutation('what has ended begins again from a snapshot', 'sse_source.js',
        "this.ended ||= !this.#state && this.getAttribute('state') == 'stopped'", 'this.ended ||= false',
        'browser/test_page.py::test_what_has_ended_stays_so_in_a_snapshot'),
    Mutation('a source that is moved connects anew', 'sse_source.js',
        'if (this.isConnected) return  // moved', '', 'browser/test_page.py::test_moving_keeps_the_connection'),
    Mutation('a source that was removed keeps its connection', 'sse_source.js',
        '        this.#disconnect()\n        for (const name of OCCASIONS) removeEventListener',
        '        for (const name of OCCASIONS) removeEventListener',
        'browser/test_page.py::test_removal_by_a_script_closes_the_connection_at_once'),
    Mutation('a morph leaves another state in the page', 'sse_source.js',
        "if (name == 'state' && this.#state && value != this.#state) this.setAttribute(name, this.#state)", '',
        'browser/test_page.py::test_a_morph_around_a_source_leaves_it_alone'),
    Mutation('another address goes on with the id of the last one', 'sse_source.js',
        "{ this.#id = ''; this.removeAttribute('after') }", '{}', 'browser/test_page.py::test_another_address_is_another_stream'),
    Mutation('a snapshot does not know where its source stood', 'sse_source.js',
        "this.setAttribute('after', this.#id = id)", 'this.#id = id', 'browser/test_page.py::test_boosted_navigation_and_back'),
    Mutation('one broken message is an error of the page', 'sse_source.js',
        "catch (error) { console.error('sse-source could not swap', text, error) }", 'finally {}',
        'browser/test_page.py::test_one_broken_message_costs_neither_the_next_nor_the_connection'),
    Mutation('a browser that is back waits', 'sse_source.js',
        "this.#state?.endsWith('connecting')", 'false', 'browser/test_page.py::test_a_browser_that_is_back_does_not_wait'),
    Mutation('a page that is told of a gap is told again and again', 'sse_source.js',
        "if (this.#id == missing) this.setAttribute('after', id)", '',
        'browser/test_page.py::test_a_page_that_does_not_say_where_it_stands_goes_on_after_the_gap'),
    Mutation('a refresh puts a page where another is', 'sse_source.js',
        'if (location.href == href) await', 'await', 'browser/test_page.py::test_a_refresh_does_not_put_a_page_where_another_is'),
    Mutation('an error is put in the place of the page', 'sse_source.js',
        "if (!answer.ok) throw Error(answer.status + ' ' + href)", '', 'browser/test_page.py::test_a_refresh_that_fails_is_tried_again'),
    Mutation('a refresh that fails is not tried again', 'sse_source.js',
        'return setTimeout(() => this.open(), 5000)', 'return', 'browser/test_page.py::test_a_refresh_that_fails_is_tried_again'),
    Mutation('the best source makes the status', 'sse_source.js',
        'rank(b) - rank(a)', 'rank(a) - rank(b)', 'browser/test_page.py::test_the_status_is_that_of_the_worst_source_or_of_the_one_named'),
    Mutation('pages that are left keep their streams', 'sse_source.js',
        "if (type == 'pagehide' || hurries)", 'if (hurries)',
        'browser/test_tabs.py::test_twelve_pages_leave_one_stream_and_back_restores_a_live_one'),
    Mutation('a page that comes back stays dead', 'sse_source.js',
        "if (type == 'pageshow' && persisted || hurries)", 'if (hurries)',
        'browser/test_tabs.py::test_twelve_pages_leave_one_stream_and_back_restores_a_live_one'),
    Mutation('a tab that has ended keeps the lock', 'sse_source.js',
        "      signal.addEventListener('abort', done)\n", '', 'browser/test_page.py::test_what_is_removed_leaves_nothing_behind'),
    Mutation('a tab takes what others say twice', 'sse_source.js',
        'if (at == id) pass(message)', 'pass(message)',
        'browser/test_tabs.py::test_a_tab_that_meets_the_others_before_it_was_live_becomes_live'),
    Mutation('a tab that stands elsewhere passes over what it lacks', 'sse_source.js',
        'if (at != id && message.id != id) return message.event ? requestAlone() : expectWithin(300)', '',
        'browser/test_tabs.py::test_a_tab_that_stands_elsewhere_catches_up_by_itself_and_joins'),
    Mutation('a tab keeps its own connection beside the shared one', 'sse_source.js',
        '      endOwn = endOwn?.()\n', '', 'browser/test_tabs.py::test_a_tab_that_stands_elsewhere_catches_up_by_itself_and_joins'),
    Mutation('a leader that falls silent holds up the others', 'sse_source.js',
        'expectWithin(live == undefined ? 300 : live.patience)', '',
        'browser/test_tabs.py::test_a_leader_that_falls_silent_holds_up_nobody'),
    Mutation('keys keep nobody apart', 'sse_source.js',
        'name = `sse-source ${key} ${url}`', 'name = `sse-source  ${url}`', 'browser/test_tabs.py::test_keys_keep_users_apart'),
    Mutation('without locks a tab does not connect', 'sse_source.js',
        'key != null && navigator.locks && window.BroadcastChannel ?', 'key != null ?',
        'browser/test_tabs.py::test_without_the_means_each_tab_connects_by_itself'),
    Mutation('a morph loses what was typed', 'sse_morph.js', ', ignoreActiveValue: true', '', 'browser/test_morph.py'),
    Mutation('a morph takes an option away, and another is selected', 'sse_morph.js',
        '.map(node => node.cloneNode(true))', '', 'browser/test_swaps.py'),
]

MUTATIONS = [*LOG, *STORE, *SQLITE, *REDIS, *CHANNEL, *EVENT, *SOURCE, *HUB, *RESPONSE, *STREAMING, *PAGE, *SCRIPT]


def copy_project(folder: str) -> Path:
    "A copy of the project in `folder`, with what the browser loads."
    root: Path = copy_into(folder)
    (root/'tests/node_modules').symlink_to(ROOT/'tests/node_modules')
    found = call(root, LIMIT, '-c', f'import {PACKAGE}; print({PACKAGE}.__file__)')[1].strip()
    if not found.startswith(str(root)): sys.exit(f'{found} is imported, and not the copy in {root}')
    return root


def call(root: Path, limit: float, *args: str) -> tuple[int | None, str]:
    "Run Python in a copy. Its exit code, `None` if it had to be stopped, and what it has said."
    env = os.environ | {'PYTHONPATH': str(root), 'PYTHONDONTWRITEBYTECODE': '1'}  # a stale bytecode would hide a mutation
    process = subprocess.Popen([sys.executable, *args], cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True)
    try: output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]
    return process.returncode, output


def run_tests(root: Path, limit: float, *tests: str) -> tuple[int | None, str]:
    "Run `tests` until one fails: the exit code of pytest, and which one that is."
    code, output = call(root, limit, '-m', 'pytest', *OPTIONS, *(f'tests/{test}' for test in tests))
    failed = re.search(r'^(?:FAILED|ERROR) tests/(\S+?::\w+)', output, re.MULTILINE)
    return code, 'hung' if code is None else failed[1] if failed else output.strip().rpartition('\n')[2]


VERDICTS = {0: 'GREEN', 1: 'red  ', None: 'red  '}  # by pytest's exit code, which is 1 where a test has failed


def outcome(root: Path, mutation: Mutation) -> str:
    "What becomes of a mutation: `red` if a test fails, twice, or hangs."
    path = root/PACKAGE/mutation.file
    source = path.read_text(encoding='utf-8')
    if source.count(mutation.old) != 1: return f'OUT OF DATE {mutation.name}: {source.count(mutation.old)} times in {mutation.file}'
    began = monotonic()
    path.write_text(source.replace(mutation.old, mutation.new), encoding='utf-8')
    try:
        code, what = run_tests(root, LIMIT, mutation.by)
        verdict = VERDICTS.get(code, 'NO TEST')
        if code == 1 and run_tests(root, LIMIT, what)[0] not in (1, None): verdict = 'ONCE '  # by chance, or as the machine is busy
    finally: path.write_text(source, encoding='utf-8')
    return f'{verdict} {mutation.name} ({what.partition("::")[2] or what}, {monotonic() - began:.1f} s)'


def outcomes(roots: Sequence[Path], mutations: Sequence[Mutation]) -> Iterator[str]:
    "The outcome of each, in order; as many at a time as there are copies."
    free: SimpleQueue[Path] = SimpleQueue()
    for root in roots: free.put(root)
    def in_a_copy(mutation: Mutation) -> str:
        root = free.get()
        try: return outcome(root, mutation)
        finally: free.put(root)
    with ThreadPoolExecutor(len(roots)) as pool: yield from pool.map(in_a_copy, mutations)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('parts', nargs='*', help='of names')
    parser.add_argument('--no-check', action='store_true', help='do not run the tests without a mutation first')
    parser.add_argument('--jobs', type=int, default=2, help='how many are tried at a time')
    args = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if not args.parts or any(part in mutation.name for part in args.parts)]
    with TemporaryDirectory() as folder:
        roots = [copy_project(f'{folder}/{n}') for n in range(args.jobs)]
        if not args.no_check:
            code, what = run_tests(roots[0], CHECK_LIMIT, *sorted({mutation.by for mutation in chosen}))
            if code != 0: sys.exit(f'without a mutation: {what}')
            print(what)
        lines = []
        for line in outcomes(roots, chosen):
            print(line, flush=True)
            lines.append(line)
    red = sum(line.startswith('red') for line in lines)
    print(f'{red} of {len(lines)} are red')
    return int(red < len(lines))


if __name__ == '__main__': sys.exit(main())
