"""What a task sets in its context is gone with it; what the worker had set is there for each."""

from __future__ import annotations

import contextvars
import decimal

from arbd.worker import task_context

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="")


def precision() -> int:
    return decimal.getcontext().prec


def spoil() -> int:
    WORD.set("spoiled")
    decimal.getcontext().prec = 2
    return precision()


def test_a_variable_reaches_no_other_task() -> None:
    def worker() -> None:
        WORD.set("of the worker")
        fresh = task_context.of_tasks()
        assert fresh().run(WORD.get) == "of the worker"
        fresh().run(spoil)
        assert fresh().run(WORD.get) == "of the worker"

    contextvars.copy_context().run(worker)


def test_neither_does_the_precision_of_decimals_that_the_worker_has_set() -> None:
    def worker() -> None:
        decimal.setcontext(decimal.Context(prec=50))
        fresh = task_context.of_tasks()
        assert fresh().run(spoil) == 2
        assert fresh().run(precision) == 50
        assert precision() == 50

    contextvars.copy_context().run(worker)


def test_nor_that_of_a_task_where_the_worker_has_set_none() -> None:
    def worker() -> None:
        fresh = task_context.of_tasks()
        assert fresh().run(spoil) == 2
        assert fresh().run(precision) == decimal.DefaultContext.prec

    contextvars.Context().run(worker)
