"""Interrupts: raised where they come, or after a step that must not be cut in two."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from releaser.errors import Interrupted
from releaser.system import signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """See that every test leaves the handlers as they were."""
    before = {number: signal.getsignal(number) for number in signals.INTERRUPTS}
    yield
    assert {number: signal.getsignal(number) for number in signals.INTERRUPTS} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_is_an_exception_with_its_number(number: signal.Signals) -> None:
    with signals.raise_on_signals(), pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.signal_number == number


def test_an_interrupt_says_if_its_process_lost_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the kernel may have sent it, as for the runs of many sites whose command was killed."""
    parent = os.getppid()
    for now, is_orphan in ((parent, False), (1, True)):
        parents = iter((parent, now))
        monkeypatch.setattr(os, "getppid", lambda found=parents: next(found))
        with signals.raise_on_signals(), pytest.raises(Interrupted) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.is_orphan == is_orphan


def interrupted_step(interrupt: Callable[[], object], done: list[str]) -> None:
    """Let an interrupt come in a step that must not be cut in two, and note how far it gets."""
    with signals.defer_interrupts():
        interrupt()
        done.append("the rest of the step")
    done.append("what comes behind it")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_deferred_interrupt_comes_at_the_end(number: signal.Signals) -> None:
    done: list[str] = []
    with signals.raise_on_signals(), pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Interrupted):
        interrupted_step(lambda: os.kill(os.getpid(), number), done)
    assert done == ["the rest of the step"]


def test_other_threads_do_not_let_an_interrupt_through() -> None:
    """The kernel may hand a signal to any thread; Python always runs its handler in the main one."""
    done: list[str] = []
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    heard, hears = os.pipe()
    os.set_blocking(hears, False)
    before = signal.set_wakeup_fd(hears)

    def interrupt() -> None:
        signal.pthread_kill(thread.ident or 0, signal.SIGTERM)
        os.read(heard, 1)

    try:
        with signals.raise_on_signals(), pytest.raises(Interrupted):
            interrupted_step(interrupt, done)
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        thread.join()
        os.close(heard)
        os.close(hears)
    assert done == ["the rest of the step"]


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raise_on_signals(), signals.defer_interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_happens() -> None:
    def act() -> str:
        with signals.raise_on_signals(), signals.defer_interrupts():
            return "done"

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(act).result() == "done"
