"""A provider that is nothing but its two calls: what arbd is measured against.

    python bench/bare.py ADDRESS PROVIDER CALLS_IN_FLIGHT

Each of so many coroutines polls, and answers what it got with a constant. There is no dispatch, no process of its own
for the action, no deadline, no validation, and no retry: a failed call ends it. One coroutine is the way of the
predecessor: GetTask, run, SubmitTaskResult, and from the start again.
"""

from __future__ import annotations

import asyncio
import sys

import grpc.aio
import uvloop

from arbd.links.unary.messages import decode_task, encode_request
from arbd.model.task import Task
from arbd.wire.pb import hub_pb2 as pb

RESULT = '{"status":"success"}'


async def provide(address: str, provider: str, in_flight: int) -> None:
    """Serve until killed."""
    async with grpc.aio.insecure_channel(address) as channel:
        get_task = channel.unary_unary("/Hub/GetTask", None, None)
        submit = channel.unary_unary("/Hub/SubmitTaskResult", None, None)
        request = encode_request(provider, "")

        async def serve() -> None:
            while True:
                task = decode_task(await get_task(request, timeout=60))
                if task is not None:
                    await submit(answer(task, provider), timeout=10)

        await asyncio.gather(*(serve() for _ in range(in_flight)))


def answer(task: Task, provider: str, result: str = RESULT) -> bytes:
    """The body of the call that brings a success."""
    message = pb.TaskResult(
        id=task.id,
        provider=provider,
        status="success",
        action=task.action,
        payload=task.payload.decode(),
        result=result,
        account=task.account.decode(),
    )
    return message.SerializeToString()


if __name__ == "__main__":
    uvloop.run(provide(sys.argv[1], sys.argv[2], int(sys.argv[3])))
