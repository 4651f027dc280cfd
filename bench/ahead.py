"""What is asked for next, made meanwhile by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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
    pool = ThreadPoolExecutor(threads, "ahead", torch.set_num_threads, (torch.get_num_threads(),))
    made = deque[Future[T]]()
    try:
        for call in calls:
            made.append(pool.submit(call))
            if len(made) > depth:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
