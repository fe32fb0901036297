"""Every key of a queue, with its meaning; nobody else formats a key.

All keys of a queue share one Cluster hash tag, ``{prefix:queue}``. The names are chasquimq's wherever it has one, so
that ``prefix="chasqui"`` shares a live queue with its Rust, Node and Python programs.
"""

from __future__ import annotations

import attrs

#: The consumer group that all workers of a queue read with: chasquimq's default name.
GROUP = b"default"

#: The prefix under which a queue is shared with chasquimq's programs.
CHASQUI = "chasqui"

#: How AnyQ's consumers begin: whoever is named so has a heartbeat, everybody else is left to the slow sweep.
CONSUMER_PREFIX = b"anyq-"

#: The priority of a job that asks for none: its lane is the stream. 9 is read first, 0 last.
DEFAULT_PRIORITY = 5

#: All priorities.
PRIORITIES = range(10)


@attrs.frozen(init=False)
class Keys:
    """The keys of one queue, as bytes.

    Attributes:
        stream: Stream of ready jobs; a delivered entry stays until it is settled. Never trimmed.
        returned: Stream of jobs that were handed back or taken over: read before ``stream``, so that they start again
            at once however deep the backlog is.
        delayed: Sorted set of delayed jobs, scored with the millisecond they are due.
        dead_letters: Stream of jobs that were given up.
        trimmed: How many dead letters were trimmed so far.
        events: Stream of what happened; trimmed.
        promoter_lock: Who promotes on time.
        due: Pub/sub channel: the next due time moved forward.
        pauses: Hash of what is paused, and of how much is set aside because of it.
        confirmed: Hash of which worker has confirmed which state of the pauses; expires.
        paused: chasquimq's flag for a paused queue, for queues that are shared with its programs.
        pausing: Pub/sub channel: the pauses changed.
        confirming: Pub/sub channel: a worker has confirmed a state of the pauses.
        schedules: Sorted set of active schedules, scored with the millisecond for which each is planned next;
            chasquimq's name.
        paused_schedules: The same of those that are paused.
        ended_schedules: Those that have ended, scored with the millisecond when they may be forgotten.
        declared_schedules: Marks that declared schedules were written: a flush takes it along.
        scheduler_lock: Who starts the runs of schedules on time.
        schedules_changed: Pub/sub channel: a schedule was planned anew.
        cancels: Sorted set of the ids of jobs in workers' hands that are to be cancelled, scored with the millisecond
            when the request runs out; renewed by who has the job, and gone with it.
        cancelling: Pub/sub channel: the job with this id is to be cancelled.
        widened: Pub/sub channel: a lane was made.
        lanes: The streams that workers of every queue read, in the order in which they read them.
        all_lanes: All streams that they may read, should all priorities be in use.
    """

    prefix: str
    queue: str
    stream: bytes
    returned: bytes
    delayed: bytes
    dead_letters: bytes
    trimmed: bytes
    events: bytes
    promoter_lock: bytes
    due: bytes
    pauses: bytes
    confirmed: bytes
    paused: bytes
    pausing: bytes
    confirming: bytes
    schedules: bytes
    paused_schedules: bytes
    ended_schedules: bytes
    declared_schedules: bytes
    scheduler_lock: bytes
    schedules_changed: bytes
    cancels: bytes
    cancelling: bytes
    widened: bytes
    lanes: tuple[bytes, ...]
    all_lanes: tuple[bytes, ...]
    _tag: bytes = attrs.field(repr=False)

    def __init__(self, prefix: str, queue: str) -> None:
        tag = f"{{{prefix}:{queue}}}:".encode()
        # chasquimq's workers do not know the lane of returned jobs: what is handed back must lie where they look.
        returned = tag + (b"stream" if prefix == CHASQUI else b"returned")
        stream = tag + b"stream"
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # attrs makes it
            prefix=prefix,
            queue=queue,
            stream=stream,
            returned=returned,
            delayed=tag + b"delayed",
            dead_letters=tag + b"dlq",
            trimmed=tag + b"dlq:trimmed",
            events=tag + b"events",
            promoter_lock=tag + b"promoter:lock",
            due=tag + b"due",
            pauses=tag + b"pauses",
            confirmed=tag + b"pauses:confirmed",
            paused=tag + b"paused",
            pausing=tag + b"pausing",
            confirming=tag + b"confirming",
            schedules=tag + b"repeat",
            paused_schedules=tag + b"repeat:paused",
            ended_schedules=tag + b"repeat:ended",
            declared_schedules=tag + b"repeat:declared",
            scheduler_lock=tag + b"scheduler:lock",
            schedules_changed=tag + b"repeat:changed",
            cancels=tag + b"cancels",
            cancelling=tag + b"cancelling",
            widened=tag + b"widened",
            lanes=(stream,) if returned == stream else (returned, stream),
            all_lanes=(stream,)
            if returned == stream
            else (returned, *(_lane(stream, priority) for priority in PRIORITIES)),
            tag=tag,
        )

    @property
    def shared(self) -> bool:
        """Whether programs other than AnyQ's may work on this queue."""
        return self.prefix == CHASQUI

    def lane(self, priority: int) -> bytes:
        """The stream of ready jobs of a priority; a queue that is shared has but one."""
        return self.stream if self.shared else _lane(self.stream, priority)

    @property
    def priority_lanes(self) -> tuple[bytes, ...]:
        """The lanes of all priorities, from 0 to 9; none on a queue that is shared with programs that read one."""
        return self.all_lanes[1:]

    def result(self, job_id: str) -> bytes:
        """What a job returned: MessagePack, as chasquimq writes it."""
        return self._tag + b"result:" + job_id.encode()

    def failure(self, job_id: str) -> bytes:
        """Why a job was given up, for whoever waits for its result."""
        return self._tag + b"failure:" + job_id.encode()

    def finished(self, job_id: str) -> bytes:
        """Pub/sub channel: the result or the failure of this job is there."""
        return self._tag + b"finished:" + job_id.encode()

    def taken_id(self, job_id: str) -> bytes:
        """Marks a caller-chosen id as taken; chasquimq's name."""
        return self._tag + b"dlid:" + job_id.encode()

    def delayed_member(self, job_id: str) -> bytes:
        """The exact member of ``delayed`` that holds the job with this id; chasquimq's name."""
        return self._tag + b"didx:" + job_id.encode()

    def unique(self, key: str) -> bytes:
        """Marks a unique key as taken: the claim of the job that has it."""
        return self._tag + b"unique:" + key.encode()

    def schedule(self, name: str) -> bytes:
        """What is known of a schedule: its definition, in chasquimq's bytes and AnyQ's, and how often it fired."""
        return self._tag + b"repeat:spec:" + name.encode()

    def track(self, job_id: str) -> bytes:
        """How a job is for which others may wait: ``alive``, or how it ended."""
        return self._tag + b"track:" + job_id.encode()

    @property
    def counts(self) -> bytes:
        """Hash of what was ever counted, and the last minute in which anything was."""
        return self._tag + b"counts"

    @property
    def history(self) -> bytes:
        """Stream of what the counts were before each minute in which something happened."""
        return self._tag + b"history"

    @property
    def parked(self) -> bytes:
        """Sorted set of how many delayed jobs are parked, since no worker knew their task: in all, and of each task."""
        return self._tag + b"parked"

    @property
    def waiting(self) -> bytes:
        """Hash of the jobs that wait for others: by id, for how many, and the job."""
        return self._tag + b"waiting"

    @property
    def children(self) -> bytes:
        """Hash of those that wait, by the id of the one that they wait for."""
        return self._tag + b"children"

    def progress(self, job_id: str) -> bytes:
        """How far a job said that it is, and what belongs to the writing of its log."""
        return self._tag + b"progress:" + job_id.encode()

    def log(self, job_id: str) -> bytes:
        """The lines that a job logged, of which the last are kept."""
        return self._tag + b"log:" + job_id.encode()

    def sent(self, producer: bytes) -> bytes:
        """Which batches of this producer took effect, so that one sent again after a lost reply does nothing."""
        return self._tag + b"sent:" + producer

    def next_batch(self, producer: bytes) -> bytes:
        """The same for batches of ready jobs as long as they come in their order: the number that comes next."""
        return self._tag + b"next:" + producer

    def aside(self, task: str) -> bytes:
        """Stream of the jobs that were set aside because their task is paused."""
        return self._tag + b"aside:" + task.encode()

    def gather(self, task: str, group: str, priority: int = DEFAULT_PRIORITY) -> bytes:
        """The job in which items for this task gather, while it takes more; a length keeps both names apart."""
        return self._tag + f"gather:{priority}:{len(task)}:{task}:{group}".encode()

    def mended(self, token: bytes) -> bytes:
        """The last batch of one replay, or one deletion, of dead letters, and its answers."""
        return self._tag + b"mended:" + token

    @property
    def doctor(self) -> bytes:
        """A key that is never there, and a channel that nobody publishes on, for trying what a user may."""
        return self._tag + b"doctor"

    @property
    def pattern(self) -> str:
        """All keys of this queue, as a pattern of ACL rules."""
        return f"{self._tag.decode()}*"

    def heartbeat(self, consumer: bytes) -> bytes:
        """Lives as long as the worker with this consumer name."""
        return self._tag + b"heartbeat:" + consumer


def _lane(stream: bytes, priority: int) -> bytes:
    return stream if priority == DEFAULT_PRIORITY else b"%b:%d" % (stream, priority)
