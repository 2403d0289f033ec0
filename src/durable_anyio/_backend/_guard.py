"""The guard of a step: sees every call that workflow code makes, its libraries' calls too, and refuses the forbidden ones.

It is a profile function, set on the step's thread for the length of the step; a run without a guard pays one comparison a step. An error
that leaves a profile function reaches the caller in place of the call, which is not made; the interpreter then drops the function. So the
first forbidden call of a step is refused and poisons the step; a step that swallowed the refusal reads the clock unseen until it next
waits, and that does not matter any more: its commands are thrown away.

What C code calls by itself (`functools.partial(open)`, `io.FileIO(…)`) is no profile event. An audit hook sees it where it reaches the
outside world (`_audit`); not seen are clocks and randomness (`functools.partial(time.time)()`, `map(random.random, …)`), and
`durable-anyio check` finds the usual ones of those in source.
"""

from __future__ import annotations

import datetime
import gc
import logging
import random
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ._audit import watch
from ._forbidden import IN_ACTIVITY, ForbiddenCallError, poisoned
from ._forbidden_calls import (
    CLOCK_METHODS,
    OPTIONAL_MODULES,
    USE_ENTROPY,
    USE_RANDOM,
    USE_TASKS,
    USE_TIME,
    USE_UUID,
    Rule,
    c_functions,
    python_functions,
)
from ._shared import ClassWatch, SharedUse

T = TypeVar("T")
_log = logging.getLogger("durable_anyio.workflow")

EXEMPT_MODULES = (
    # Records carry the time and the process; handlers write. `workflow.logger` is silent in a replay.
    "logging", "warnings",
    # Imports read files and run module bodies, once a process.
    "importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "pkgutil", "runpy",
    # Text about errors reads source files.
    "traceback", "linecache", "tokenize", "inspect", "faulthandler",
    # Time-zone data: files, but the same ones for every run.
    "zoneinfo",
    # Debuggers, and pytest's rewritten assertions.
    "pdb", "bdb", "cmd", "code", "codeop", "rlcompleter", "pydoc", "readline", "_pytest", "pluggy", "IPython", "ipdb", "pudb", "debugpy",
    "pydevd", "_pydevd_bundle", "_pydev_bundle", "coverage",
)  # fmt: skip
"""Modules that may do what workflow code may not, and whatever they call: a name stands for its submodules too."""

_PACKAGE = __name__.partition(".")[0]
# Where a step's frames end and the scheduler's begin.
_BOUNDARY = frozenset(f"{_PACKAGE}._backend.{name}" for name in ("_scheduler", "_closing", "_hosts"))
_BY_MODULE = {"uuid": USE_UUID, "secrets": USE_ENTROPY, "tempfile": IN_ACTIVITY, "concurrent": USE_TASKS}
# Their functions' own names say what they do.
_SELF_EVIDENT = frozenset({"asyncio", "random", "secrets", "trio", "uuid"})
_SEED = random.Random.seed.__code__
_UNSEEDED = Rule("random.Random", USE_RANDOM)


class _Collecting(threading.local):
    """Whether the garbage collector works on this thread. What it ends is not the doing of the code that it happens to interrupt."""

    now = False

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        self.now = phase == "start"


_collecting = _Collecting()


def unguarded(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Call `function`; the guard lets everything below this frame pass."""
    return function(*args, **kwargs)


def _code(callback: Any) -> types.CodeType | None:
    """What runs when `callback` is called, if it is Python."""
    function = callback if hasattr(callback, "__code__") else type(callback).__call__
    return getattr(function, "__code__", None)


class CallGuard:
    """Refuses forbidden calls. One serves all runs of a worker; steps of several threads may use it at once.

    :param exempt_modules: names of modules that, with their submodules, may make such calls.
    """

    def __init__(self, exempt_modules: Sequence[str] = ()) -> None:
        self._exempt = frozenset(EXEMPT_MODULES) | frozenset(exempt_modules)
        self._loaded: frozenset[str] = frozenset()
        self._hook: Callable[[types.FrameType, str, Any], None] | None = None
        self._shared = SharedUse()
        self._previous = threading.local()
        self._warned = False

    def for_run_of(self, cls: type) -> RunGuard:
        """The guard of one run, which also sees when a step changes the run's class."""
        return RunGuard(self, cls)

    def enter(self) -> None:
        """Begin to watch this thread. A profiler written in Python is called along; with one written in C the guard stays away."""
        loaded = frozenset(name for name in OPTIONAL_MODULES if name in sys.modules)
        hook = self._hook
        if hook is None or loaded != self._loaded:
            hook = self._hook = self._make_hook()
            self._loaded = loaded
        watch(self)
        if _collecting not in gc.callbacks:
            gc.callbacks.append(_collecting)
        previous = sys.getprofile()
        self._previous.profiler = previous
        if previous is None:
            sys.setprofile(hook)
        elif isinstance(previous, types.FunctionType | types.MethodType):
            sys.setprofile(_chain(previous, hook))
        elif not self._warned:
            self._warned = True
            _log.warning("forbidden calls are not looked for: a profiler is active (%s)", type(previous).__qualname__)

    def leave(self) -> None:
        """Give this thread the profiler back that it had."""
        watch(None)
        previous = self._previous.profiler
        if previous is None or isinstance(previous, types.FunctionType | types.MethodType):
            sys.setprofile(previous)

    def _make_hook(self) -> Callable[[types.FrameType, str, Any], None]:
        functions, codes = c_functions(), python_functions()
        seed, shared = id(_SEED), self._shared.watched

        def hook(frame: types.FrameType, event: str, arg: Any) -> None:
            if event == "c_call":
                rule = functions.get(arg)
                if rule is not None:
                    self.judge(frame, rule)
                elif arg.__name__ in CLOCK_METHODS and isinstance(arg.__self__, type) and issubclass(arg.__self__, datetime.date):
                    self.judge(frame, Rule(f"{_clock_class(arg.__self__)}.{arg.__name__}", USE_TIME))
            elif event == "call":
                code = id(frame.f_code)
                if code in codes:
                    self.judge(frame, codes[code][1])
                elif code in shared:
                    wrong = shared[code][1](frame)
                    if wrong is not None:
                        self.judge(frame, Rule(wrong, ""))
                elif code == seed and frame.f_locals.get("a") is None:
                    self.judge(frame, _UNSEEDED)

        return hook

    def judge(self, frame: types.FrameType, rule: Rule) -> None:
        """Refuse the call that `frame` makes, or begins, unless somebody exempt stands behind it.

        :raises ForbiddenCallError: it is refused
        """
        if _collecting.now:
            return
        frames = list(_step_frames(frame))
        # Others' callbacks of the collector run before ours hears of a collection: hypothesis measures each, for one.
        collecting = {_code(callback) for callback in gc.callbacks}
        for seen in frames:
            if seen.f_code in collecting or seen.f_code is unguarded.__code__ or self._is_exempt(_module(seen)):
                return
        beyond = next((index for index, seen in enumerate(frames) if not _is_stdlib(seen)), len(frames))
        if beyond == len(frames) or _is_ours(_module(frames[beyond])):
            return
        raise poisoned(_refusal(rule, frames[:beyond], frames[beyond:]))

    def _is_exempt(self, module: str) -> bool:
        while module:
            if module in self._exempt:
                return True
            module = module.rpartition(".")[0]
        return False


class RunGuard:
    """The guard of one run."""

    __slots__ = ("_class_watch", "_guard")

    def __init__(self, guard: CallGuard, cls: type) -> None:
        self._guard = guard
        self._class_watch = ClassWatch(cls)

    def enter(self) -> None:
        """See `CallGuard.enter`."""
        self._class_watch.look()
        self._guard.enter()

    def leave(self) -> None:
        """See `CallGuard.leave`. Poisons the step if it changed the run's class."""
        self._guard.leave()
        changed = self._class_watch.changed()
        if changed is not None:
            poisoned(ForbiddenCallError(changed))


def _chain(previous: Callable[..., Any], hook: Callable[..., Any]) -> Callable[[types.FrameType, str, Any], None]:
    def both(frame: types.FrameType, event: str, arg: Any) -> None:
        previous(frame, event, arg)
        hook(frame, event, arg)

    return both


def _refusal(rule: Rule, inner: list[types.FrameType], outer: list[types.FrameType]) -> ForbiddenCallError:
    """Build the error. `inner` are the standard library's frames below the code that made the call, `outer` the others."""
    call, alternative = rule
    text = ""
    if not alternative:  # shared state: the rule is the whole sentence, and AnyIO's frames are not the user's
        outer = inner + outer
        inner = []
    while inner and _module(inner[-1]) in ("contextlib", "functools"):
        inner = inner[:-1]
    if inner:
        asked = _public_name(inner[-1])
        library = asked.partition(".")[0]
        alternative = _BY_MODULE.get(library, alternative)
        is_same = len(inner) == 1 and inner[0].f_code.co_name == call.rpartition(".")[2]
        if not is_same and asked != call and "._" not in asked:
            # What was asked for, and, where that does not say it, what it ends in.
            text = f"{asked}()" if library in _SELF_EVIDENT else f"{asked}(), which calls {call}(),"
            call = asked
    maker = outer[0]
    user = next((seen for seen in outer if _is_user(seen)), maker)
    location = _place(user)
    where = f"{location}, in {user.f_code.co_qualname}"
    if user is not maker and alternative:
        where += f", by way of {_module(maker)} ({_place(maker)})"
    if not alternative:
        return ForbiddenCallError(f"{call}\n  at {where}", location=location)
    return ForbiddenCallError(
        f"{text or call + '()'} is not possible inside a workflow: {alternative}\n  at {where}", call=call, location=location
    )


def _step_frames(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    """The frames from `frame` up to the scheduler's."""
    while frame is not None and _module(frame) not in _BOUNDARY:
        yield frame
        frame = frame.f_back


def _module(frame: types.FrameType) -> str:
    return str(frame.f_globals.get("__name__") or "")


def _is_stdlib(frame: types.FrameType) -> bool:
    return _module(frame).partition(".")[0] in sys.stdlib_module_names or _module(frame).partition(".")[0] == "trio"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == _PACKAGE and not module.startswith(f"{_PACKAGE}._demo")


def _is_user(frame: types.FrameType) -> bool:
    """Whether a frame is of the program itself: neither installed, nor the standard library's, nor ours, nor generated."""
    name = frame.f_code.co_filename
    # AnyIO by its name: it need not be where packages usually are, and every primitive is reached through it.
    installed = "site-packages" in name or "dist-packages" in name or _module(frame).partition(".")[0] == "anyio"
    return not (installed or name == "<string>" or name.startswith("<attrs") or _is_stdlib(frame) or _is_ours(_module(frame)))


def _place(frame: types.FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _public_name(frame: types.FrameType) -> str:
    """How the author of the calling code knows a function: without a private module's name and a constructor's."""
    module = _module(frame)
    parts = module.split(".")
    parts = parts[:1] + [part for part in parts[1:] if not part.startswith("_")]
    if parts[0] in ("asyncio", "trio", "multiprocessing"):
        parts = parts[:1]
    elif parts[0] == "concurrent":
        parts = ["concurrent", "futures"]
    elif parts[0] in ("genericpath", "posixpath", "ntpath"):
        parts = ["os", "path"]
    name = frame.f_code.co_qualname.removesuffix(".__init__").split(".<")[0]
    if module == "random":
        name = name.removeprefix("Random.")
    return ".".join([*parts, name])


def _clock_class(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ != "datetime" else f"datetime.{cls.__qualname__}"
