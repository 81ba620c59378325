"""Trainings side by side, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from DeepTranslateLib.jobs import EventSink, Stopped

_SECONDS_BETWEEN_LOOKS = 0.5


class FoldError(RuntimeError):
    """A process of a cross-validation ended without a word."""


def in_processes(
    work: Callable[..., None],
    jobs: Sequence[Any],
    count: int,
    sink: EventSink | None,
    should_stop: Callable[[], bool],
) -> None:
    """Do jobs, `count` of them at a time, until all are done or one fails.

    Asked to stop, or when one fails, the others save what they have and end. They do so, too,
    when this process is gone.

    Args:
        work: Function of a module, called with a job, a sink for events and `should_stop`.
        jobs: What can be pickled.
        count: Processes at a time; they share the processor's cores evenly.
        sink: Called here with the events of all.
        should_stop: Asked here, twice a second.

    Raises:
        Stopped: It was asked to stop before all was done.
        FoldError: A process was killed, such as for want of memory.
        Exception: What the first job that failed raised.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // count)
    stop = context.Event()
    left = list(jobs)
    running: dict[Connection, Any] = {}
    failure: BaseException | None = None
    while running or (left and not stop.is_set()):
        while left and len(running) < count and not stop.is_set():
            receiver, sender = context.Pipe(duplex=False)
            job = left.pop(0)
            process = context.Process(target=_run, args=(work, job, threads, sender, stop))
            process.start()
            sender.close()
            running[receiver] = process
        if should_stop():
            stop.set()
        for ready in wait(list(running), _SECONDS_BETWEEN_LOOKS):
            problem = _receive(cast(Connection, ready), running, sink)
            if problem is not None:
                stop.set()
                if failure is None or isinstance(failure, Stopped):
                    failure = problem
    if failure is not None:
        raise failure
    if left:
        raise Stopped("The cross-validation was asked to stop.")


def _receive(
    ready: Connection, running: dict[Connection, Any], sink: EventSink | None
) -> BaseException | None:
    """Pass on an event; when the process has ended, return what went wrong with it."""
    try:
        kind, content = ready.recv()
    except EOFError:
        kind, content = "gone", None
    if kind == "event":
        if sink is not None:
            sink(content)
        return None
    process = running.pop(ready)
    ready.close()
    process.join()
    if kind == "gone":
        return FoldError(
            f"A fold's process ended abruptly (exit code {process.exitcode}), as when memory runs "
            "out. The same command goes on; give fewer jobs if memory is short."
        )
    problem: BaseException | None = content
    return problem


def _run(work: Callable[..., None], job: Any, threads: int, sender: Connection, stop: Any) -> None:
    """In the process: do one job, and say how it ended."""
    # Ctrl-C reaches every process of a terminal; the first one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def should_stop() -> bool:
        return bool(stop.is_set()) or parent is None or not parent.is_alive()

    def tell(record: dict[str, Any]) -> None:
        _send(sender, ("event", record))

    try:
        work(job, tell, should_stop)
    except BaseException as error:
        _send(sender, ("ended", _picklable(error)))
    else:
        _send(sender, ("ended", None))
    sender.close()


def _send(sender: Connection, message: tuple[str, Any]) -> None:
    try:
        sender.send(message)
    except OSError:
        return  # nobody listens any more; `should_stop` ends the training


def _picklable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return FoldError(str(error))
    return error
