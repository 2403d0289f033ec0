"""What a run shows to lists, changed by its code: search attributes and memo; and its patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _commands
from ._backend import refuse_changes
from ._search_attributes import SearchAttributeUpdate, TypedSearchAttributes, decode_search_attributes, encode_updates
from ._workflow_runtime import Info, RunAttributes
from .converter import PayloadConverter
from .exceptions import DataConversionError

__all__ = ["Attributes", "Patches"]


class Patches:
    """Which side of its patches the run is on. An answer once given stays, for as long as the run lives."""

    __slots__ = ("_answers", "_recorded")

    def __init__(self) -> None:
        self._answers: dict[str, bool] = {}
        self._recorded: set[str] = set()

    def note(self, patch_id: str) -> None:
        """The history has the patch's marker."""
        self._recorded.add(patch_id)

    def ask(self, patch_id: str, *, deprecated: bool, is_replaying: bool, emit: Callable[[Any], None]) -> bool:
        if not isinstance(patch_id, str):
            raise TypeError(f"the id of a patch is a string, not {patch_id!r}")
        if not patch_id:
            raise ValueError("the id of a patch is empty")
        answer = self._answers.get(patch_id)
        if answer is not None:
            return answer
        refuse_changes(f"asking for the patch {patch_id!r}, which the workflow has not asked for yet,")
        answer = not is_replaying or patch_id in self._recorded
        self._answers[patch_id] = answer
        if answer:
            emit(_commands.set_patch_marker(patch_id, deprecated=deprecated))
        return answer


class Attributes(RunAttributes):
    """The run's search attributes and memo as they are now."""

    __slots__ = ("_attributes", "_converter", "_decoded", "_emit", "_memo")

    def __init__(self, info: Info, converter: PayloadConverter, emit: Callable[[Any], None]) -> None:
        self._attributes = info.raw_search_attributes
        self._memo = info.raw_memo
        self._converter = converter
        self._emit = emit
        self._decoded: Mapping[str, Any] | None = None

    def typed(self) -> TypedSearchAttributes:
        return decode_search_attributes(self._attributes)

    def upsert(self, updates: Sequence[SearchAttributeUpdate[Any]]) -> None:
        payloads = encode_updates(updates)
        refuse_changes("changing search attributes")
        if not payloads:
            return
        self._emit(_commands.upsert_search_attributes(payloads))
        self._attributes = _merged(self._attributes, payloads)

    def memo(self) -> Mapping[str, Any]:
        if self._decoded is None:
            # In an order of its own: that of the message's map differs from process to process.
            self._decoded = {key: self._converter.from_payloads([self._memo[key]], [None])[0] for key in sorted(self._memo)}
        return self._decoded

    def memo_value(self, key: str, type_hint: Any) -> Any:
        return self._converter.from_payloads([self._memo[key]], [type_hint])[0]

    def upsert_memo(self, updates: Mapping[str, Any]) -> None:
        payloads = {}
        for key, value in updates.items():
            try:
                payloads[key] = self._converter.to_payloads([value])[0]
            except DataConversionError as error:
                raise error.at(f"the memo value {key!r}") from error
        refuse_changes("changing the memo")
        if not payloads:
            return
        self._emit(_commands.modify_memo(payloads))
        self._memo = _merged(self._memo, payloads)
        self._decoded = None


def _merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    merged = {**fields, **changes}
    return {name: payload for name, payload in merged.items() if not _removes(payload)}


def _removes(payload: Any) -> bool:
    """The service's rule: a null or an empty list takes a field away."""
    encoding = payload.metadata.get("encoding")
    return encoding == b"binary/null" or (encoding == b"json/plain" and payload.data in (b"[]", b"null"))
