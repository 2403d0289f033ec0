"""Where our worker may tell something else than the official one, and why. Everything else has to be the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


class Anything:
    """Equal to whatever is there; not to what is not."""

    def __eq__(self, other: object) -> bool:
        return other is not None

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANYTHING"


ANYTHING = Anything()


@dataclass(frozen=True)
class Difference:
    """`path` is a pattern for the whole path; None stands for what is not there."""

    path: str
    official: Any
    own: Any
    why: str
    #: Not in every play: it depends on what comes first.
    sometimes: bool = False

    def explains(self, path: str, official: Any, own: Any) -> bool:
        return bool(re.fullmatch(self.path, path)) and self.official == official and self.own == own


TEXT = "what an SDK says itself is its own wording"
SOURCE = Difference(r".*\.source", None, "<set>", "our failures name where they come from")
#: In any request of any scenario.
EVERYWHERE = [
    SOURCE,
    Difference(r".*\.worker_version(_stamp)?", {"build_id": "<set>"}, None, "we name a build only where the program does"),
    Difference(
        r"shutdown\[\d+\]\.worker_heartbeat",
        "<set>",
        None,
        "a worker may stop before it has heard that its namespace takes them",
        sometimes=True,
    ),
    Difference(r"workflow\[\d+\]\.worker_instance_key", "<set>", None, "we say it with polls, heartbeats and the shutdown"),
    Difference(r"workflow\[\d+\]\.metering_metadata", {}, None, "it says nothing"),
    Difference(
        r"workflow\[\d+\]\.sdk_metadata\.core_used_flags",
        "1 2 3 4",
        "1 3",
        "we name the second where it is used, with the first patch; the fourth we do not have: it concerns how Rust's own SDK runs code",
    ),
    Difference(
        r"workflow\[\d+\]\.sdk_metadata\.lang_used_flags", None, "2", "a task that was worked on in one piece, which the other does as well"
    ),
    Difference(r".*_attributes\.priority", {}, None, "it says nothing"),
    Difference(r".*details", None, {}, "no details either way"),
    Difference(
        r".*\.workflow_id_reuse_policy", "WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE", None, "the service's own rule for what is left out"
    ),
    Difference(
        r".*_attributes\.retry_policy\.maximum_interval", ANYTHING, None, "the service's own rule for what is left out: 100 first intervals"
    ),
]

#: Of the command that continues as new.
SPELT_OUT = [
    Difference(
        r".*\.continue_as_new_workflow_execution_command_attributes\.(task_queue|workflow_type)\.name",
        None,
        ANYTHING,
        "the same as before: we say so",
    ),
]


def differences(official: Any, own: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two plain values differ: the path there, and both; None for what is not there."""
    if isinstance(official, dict) and isinstance(own, dict):
        for key in sorted({*official, *own}):
            yield from differences(official.get(key), own.get(key), f"{path}.{key}" if path else key)
    elif isinstance(official, list) and isinstance(own, list):
        for index in range(max(len(official), len(own))):
            one = official[index] if index < len(official) else None
            other = own[index] if index < len(own) else None
            yield from differences(one, other, f"{path}[{index}]")
    elif official != own:
        yield path, official, own


def unexplained(official: Any, own: Any, known: Sequence[Difference]) -> list[str]:
    """What differs without a reason, and which of the `known` reasons explain nothing."""
    used: list[Difference] = []
    problems = []
    for path, one, other in differences(official, own):
        why = next((reason for reason in [*known, *EVERYWHERE] if reason.explains(path, one, other)), None)
        if why is None:
            problems.append(f"{path}:\n  official: {one!r}\n  own:      {other!r}")
        else:
            used.append(why)
    return problems + [f"not met any more: {reason}" for reason in known if not reason.sometimes and not any(reason is one for one in used)]
