"""Libraries are told how many threads to use, unless the operator has told them."""

from __future__ import annotations

import pytest

from arbd.settings.thread_variables import TABLE, Shown, missing, shown

NUMBERS = {variable.name for variable in TABLE if not variable.only_for_one}


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_all_of_them_where_none_is_set(threads: int) -> None:
    found = missing({"PATH": "/bin"}, threads)
    assert {name: found.get(name) for name in NUMBERS} == dict.fromkeys(NUMBERS, str(threads))


def test_a_switch_is_for_one_thread_only() -> None:
    assert missing({}, 1)["TOKENIZERS_PARALLELISM"] == "false"
    assert "TOKENIZERS_PARALLELISM" not in missing({}, 2)


@pytest.mark.parametrize("name", [variable.name for variable in TABLE])
def test_what_the_operator_has_set_stays(name: str) -> None:
    assert name not in missing({name: "7"}, 1)


@pytest.mark.parametrize("name", [variable.name for variable in TABLE])
def test_an_empty_one_is_not_set(name: str) -> None:
    assert missing({name: ""}, 1)[name]


def test_the_operator_s_number_of_openmp_threads_is_that_of_those_who_go_by_it_too() -> None:
    found = missing({"OMP_NUM_THREADS": "4"}, 1)
    assert not found.keys() & {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"}
    assert found["NUMBA_NUM_THREADS"] == "1"


def test_a_fallback_is_set_even_where_the_operator_has_set_what_goes_before_it() -> None:
    found = missing({"OPENBLAS_NUM_THREADS": "4"}, 1)
    assert found["OMP_NUM_THREADS"] == "1"
    assert "OPENBLAS_NUM_THREADS" not in found


def test_an_empty_fallback_is_none() -> None:
    assert missing({"OMP_NUM_THREADS": "", "GOTO_NUM_THREADS": ""}, 3)["OPENBLAS_NUM_THREADS"] == "3"


def test_names_are_unique_and_fallbacks_have_no_cycle() -> None:
    names = [variable.name for variable in TABLE]
    assert len(set(names)) == len(names)
    for number, variable in enumerate(TABLE):
        assert not set(variable.falls_back_on) & set(names[number:])


def test_all_are_shown_with_who_says_so() -> None:
    found = {one.name: one for one in shown({"OMP_NUM_THREADS": "4", "NUMBA_NUM_THREADS": ""}, 2)}
    assert list(found) == [variable.name for variable in TABLE]
    assert found["OMP_NUM_THREADS"] == Shown("OMP_NUM_THREADS", "4", "environment")
    assert found["MKL_NUM_THREADS"].value == ""
    assert "OMP_NUM_THREADS" in found["MKL_NUM_THREADS"].origin
    assert found["NUMBA_NUM_THREADS"] == Shown("NUMBA_NUM_THREADS", "2", "worker.cpus")
    assert found["TOKENIZERS_PARALLELISM"].value == ""
