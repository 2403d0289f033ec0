"""Makes a failing program smaller while it keeps failing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from .programs import Body, is_body

MOST_TRIES = 600
"""How many candidates are run. Shrinking is a help for the reader, not worth minutes."""


def smaller(body: Body) -> Iterator[Body]:
    """Yield programs that are one cut smaller: large cuts first, then operations and their insides, then plainer arguments."""
    half = len(body) // 2
    if half > 1:
        yield body[:half]
        yield body[half:]
    for index, op in enumerate(body):
        before, after = body[:index], body[index + 1 :]
        yield before + after
        for place, part in enumerate(op):
            if not isinstance(part, list):
                continue
            bodies = [part] if is_body(part) else part
            for inner in bodies:
                yield before + inner + after
            for changed in _inside(part):
                yield [*before, (*op[:place], changed, *op[place + 1 :]), *after]
        for place, part in enumerate(op[1:], 1):
            if isinstance(part, int) and part > 0:
                yield [*before, (*op[:place], type(part)(0), *op[place + 1 :]), *after]


def _inside(part: list[object]) -> Iterator[list[object]]:
    """Yield what a body, or a list of bodies, inside an operation may become."""
    if is_body(part):
        yield from smaller(part)  # type: ignore[arg-type,misc]
        return
    for index, inner in enumerate(part):
        yield part[:index] + part[index + 1 :]
        for changed in smaller(inner):  # type: ignore[arg-type]
            yield [*part[:index], changed, *part[index + 1 :]]


async def shrink(program: Body, fails: Callable[[Body], Awaitable[bool]], *, most_tries: int = MOST_TRIES) -> Body:
    """Return a program that fails, and of which no single cut that was tried fails."""
    tries = 0
    found = True
    while found:
        found = False
        for candidate in smaller(program):
            if tries >= most_tries:
                return program
            tries += 1
            if await fails(candidate):
                program, found = candidate, True
                break
    return program
