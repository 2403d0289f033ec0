"""Memory object streams, and AnyIO's streams that are built on them."""

from __future__ import annotations

import math

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.stapled import StapledObjectStream
from anyio.streams.text import TextReceiveStream, TextSendStream, TextStream

pytestmark = pytest.mark.anyio


async def test_items_come_in_the_order_in_which_they_were_sent() -> None:
    send, receive = anyio.create_memory_object_stream[int](2)
    got: list[int] = []

    async def produce() -> None:
        async with send:
            for number in range(10):
                await send.send(number)

    async with anyio.create_task_group() as group, receive:
        group.start_soon(produce)
        async for number in receive:
            got.append(number)
    assert got == list(range(10))


async def test_a_full_stream_holds_its_sender() -> None:
    send, receive = anyio.create_memory_object_stream[int](1)
    start = anyio.current_time()
    sent_at: list[float] = []

    async def produce() -> None:
        for number in range(3):
            await send.send(number)
            sent_at.append(anyio.current_time() - start)

    async with anyio.create_task_group() as group, send, receive:
        group.start_soon(produce)
        for _ in range(3):
            await anyio.sleep(1)
            await receive.receive()
        with pytest.raises(anyio.WouldBlock):
            receive.receive_nowait()
    assert sent_at == [0, 1, 2]


async def test_a_stream_without_a_buffer_hands_over() -> None:
    send, receive = anyio.create_memory_object_stream[str](0)
    async with anyio.create_task_group() as group, send, receive:
        with pytest.raises(anyio.WouldBlock):
            send.send_nowait("nobody waits")
        group.start_soon(send.send, "first")
        assert await receive.receive() == "first"


async def test_waiting_receivers_are_served_in_their_order() -> None:
    send, receive = anyio.create_memory_object_stream[int](math.inf)
    got: list[tuple[int, int]] = []

    async def consume(number: int) -> None:
        got.append((number, await receive.receive()))

    async with anyio.create_task_group() as group, send, receive:
        for number in range(3):
            group.start_soon(consume, number)
            await anyio.wait_all_tasks_blocked()
        for item in range(3):
            send.send_nowait(item)
    assert sorted(got) == [(0, 0), (1, 1), (2, 2)]


async def test_an_item_for_a_cancelled_receiver_goes_to_the_next() -> None:
    send, receive = anyio.create_memory_object_stream[str](0)
    got: list[str] = []

    async def consume(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            got.append(f"{name}: {await receive.receive()}")

    impatient = anyio.CancelScope()
    async with anyio.create_task_group() as group, send, receive:
        group.start_soon(consume, "impatient", impatient)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(consume, "patient", anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        impatient.cancel()
        await send.send("item")
    assert got == ["patient: item"]


async def test_a_cancelled_sender_leaves_nothing_behind() -> None:
    send, receive = anyio.create_memory_object_stream[int](0)
    async with send, receive:
        with anyio.move_on_after(1) as scope:
            await send.send(1)
        assert scope.cancelled_caught
        with pytest.raises(anyio.WouldBlock):
            receive.receive_nowait()


async def test_clones_close_one_by_one() -> None:
    send, receive = anyio.create_memory_object_stream[int](5)
    other = send.clone()
    await send.send(1)
    send.close()
    await other.send(2)
    other.close()
    async with receive:
        assert [item async for item in receive] == [1, 2]
        with pytest.raises(anyio.EndOfStream):
            await receive.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await receive.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await send.send(3)


async def test_sending_to_nobody_is_a_broken_stream() -> None:
    send, receive = anyio.create_memory_object_stream[int](5)
    receive.close()
    async with send:
        with pytest.raises(anyio.BrokenResourceError):
            await send.send(1)


async def test_a_stapled_stream_goes_both_ways() -> None:
    there, here = anyio.create_memory_object_stream[str](1)
    async with StapledObjectStream(there, here) as echo:
        await echo.send("hello")
        assert await echo.receive() == "hello"
        await echo.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await echo.receive()


async def test_a_buffered_stream_reads_what_is_asked_for() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](4)
    async with BufferedByteReceiveStream(receive) as buffered:
        for chunk in (b"one\ntw", b"o\nthr", b"ee"):
            await send.send(chunk)
        send.close()
        assert await buffered.receive_until(b"\n", 10) == b"one"
        assert await buffered.receive_exactly(3) == b"two"
        assert await buffered.receive(100) == b"\nthr"
        with pytest.raises(anyio.IncompleteRead):
            await buffered.receive_exactly(100)


async def test_a_text_stream_holds_half_a_character_back() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](4)
    encoded = "süß".encode()
    async with TextReceiveStream(receive) as text:
        await send.send(encoded[:2])
        await send.send(encoded[2:])
        assert await text.receive() + await text.receive() == "süß"
        send.close()


async def test_text_over_a_stapled_stream() -> None:
    there, here = anyio.create_memory_object_stream[bytes](2)
    async with TextStream(StapledObjectStream(there, here)) as text:
        await text.send("grüße")
        assert await text.receive() == "grüße"


async def test_text_is_sent_as_bytes() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](1)
    async with TextSendStream(send, encoding="utf-16-le") as text, receive:
        await text.send("ab")
        assert await receive.receive() == b"a\0b\0"
