"""What is asked for next, made meanwhile by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


def made_ahead(calls: Iterable[Callable[[], T]], threads: int, depth: int) -> Generator[T]:
    """What the calls return, in their order, of which `threads` make up to `depth` before they are asked for.

    Without threads each is made when it is its turn. An error of a call is raised in its place. To close the iterator
    is to end the threads, after what they have in hand. The calls must not touch what others use, such as the global
    random generators.
    """
    if not threads:
        yield from (call() for call in calls)
        return
    pool, made = _pool(threads), deque[Future[T]]()
    try:
        for call in calls:
            made.append(pool.submit(call))
            if len(made) > depth:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def foreseen(values: Callable[[int], T], threads: int) -> Iterator[Callable[[int], T]]:
    """`values` of 0, 1, ..., in whatever order they are asked for; the next ones are made meanwhile by threads.

    One more than there are threads is made ahead, and what is behind is dropped. Errors, the end and what `values` must
    not touch are as with `made_ahead`.
    """
    pool, made = _pool(threads), dict[int, Future[T]]()

    def value(number: int) -> T:
        """`values(number)`, which begins on the next ones."""
        for later in range(number, number + threads + 2):
            if later not in made:
                made[later] = pool.submit(values, later)
        for behind in [each for each in made if each < number]:
            made.pop(behind).cancel()
        return made[number].result()

    try:
        yield value
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads of which each leaves torch as many of its own as the one that asks."""
    return ThreadPoolExecutor(threads, "ahead", torch.set_num_threads, (torch.get_num_threads(),))
