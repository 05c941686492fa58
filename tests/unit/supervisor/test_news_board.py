"""The board tells whose slot has news, once."""

from __future__ import annotations

from arbd.ipc import layout
from arbd.supervisor.news_board import NewsBoard


def test_each_change_is_told_once_and_of_its_slot_alone() -> None:
    board = NewsBoard(5)
    try:
        assert board.slots_with_news() == []
        for slot in (3, 1):
            board.words[layout.news_at(slot)] += 1
        assert board.slots_with_news() == [1, 3]
        assert board.slots_with_news() == []
        board.words[layout.news_at(2)] += 1
        assert board.unseen() == [2]
        assert board.slots_with_news() == [2], "to look at what is unseen changes nothing"
        assert board.unseen() == []
        board.words[layout.SUPERVISOR_SLEEPING] = 1  # not one of a slot
        assert board.slots_with_news() == []
    finally:
        board.close()
