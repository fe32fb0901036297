"""Making tasks of functions, and what a call of one becomes: a payload by the names of its parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from anyq import Call, Job, Queue, Task

queue = Queue("tasks")


class Service:
    def send(self, to: str) -> str:
        return f"sent to {to}"

    @staticmethod
    def address(name: str) -> str:
        return f"{name}@example.com"

    def __call__(self) -> None: ...


def bound(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return task.bind(*args, **kwargs).arguments


def test_a_decorated_function_is_a_task_that_can_still_be_called() -> None:
    queue = Queue("tasks")

    @queue.task
    def double(number: int) -> int:
        """Twice."""
        return 2 * number

    assert isinstance(double, Task)
    assert double.name == "double"
    assert double.queue is queue
    assert double.__doc__ == "Twice."
    assert double(4) == 8
    assert repr(double) == "<Task 'double' of 'tasks'>"


def test_a_decorator_with_arguments_makes_the_same_of_it() -> None:
    queue = Queue("tasks")

    @queue.task(name="twice", attempts=3, timeout=5)
    def double(number: int) -> int:
        return 2 * number

    assert double.name == "twice"
    assert double(4) == 8


def test_a_function_of_somebody_else_becomes_a_task_by_a_call() -> None:
    queue = Queue("tasks")
    assert queue.task(len, name="count")([1, 2]) == 2
    with pytest.raises(ValueError, match="no signature found for builtin <built-in function max>"):
        queue.task(max)


def test_two_functions_cannot_have_one_name() -> None:
    queue = Queue("tasks")

    @queue.task
    def first() -> None: ...

    with pytest.raises(
        ValueError, match=r"has a task 'first' already: <function .*first.*give one of them another name"
    ):

        @queue.task(name="first")
        def second() -> None: ...


def test_the_same_function_may_be_registered_again_as_a_reload_does() -> None:
    queue = Queue("tasks")

    def same() -> None: ...

    assert queue.task(same).name == queue.task(same).name == "same"


def test_a_function_with_any_number_of_positional_arguments_is_refused() -> None:
    def add(*numbers: int) -> int:
        return sum(numbers)

    with pytest.raises(
        TypeError, match=r"task 'add' takes \*numbers, and .* by name: declare a list instead"
    ):
        queue.task(add)


def test_a_generator_is_refused_for_nobody_would_iterate_it() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(TypeError, match=f"task '{function.__name__}' is a generator"):
            queue.task(function)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="a task is a function, not 3"):
        queue.task(3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"not 'send'; its name is given as @queue.task\(name='send'\)"):
        queue.task("send")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="a fallback is a function of a Job, not 3"):
        queue.fallback(3)  # type: ignore[arg-type]


def test_what_has_no_name_of_its_own_must_be_given_one() -> None:
    for nameless in (lambda: 1, partial(print, 1), Service()):
        with pytest.raises(
            TypeError, match=r"has no name of its own: give the task one, queue.task\(..., name="
        ):
            queue.task(nameless)
    assert queue.task(Service(), name="service").name == "service"


def test_a_method_is_refused_for_nobody_has_its_object_and_one_of_an_object_is_not() -> None:
    with pytest.raises(TypeError, match="task 'send' is a method, and a worker has no object to call it on"):
        queue.task(Service.send)
    assert queue.task(Service().send)("ada") == "sent to ada"
    assert queue.task(Service.address)("ada") == "ada@example.com"


def test_a_task_is_not_made_a_task_again_and_its_function_may_be_in_two_queues() -> None:
    @queue.task
    def once() -> int:
        return 1

    with pytest.raises(TypeError, match=r"<Task 'once' of 'tasks'> is a task already; .*task.function"):
        Queue("other").task(once)
    assert Queue("other").task(once.function)() == 1


def test_a_queue_has_one_fallback() -> None:
    queue = Queue("tasks")

    @queue.fallback
    def first(job: Job) -> None: ...

    queue.fallback(first)  # as a reload does
    with pytest.raises(ValueError, match=r"queue 'tasks' has a fallback already: <function .*first"):

        @queue.fallback
        def second(job: Job) -> None: ...


@queue.task
def plain(a: Any, b: Any = 2) -> None: ...


@queue.task
def keyword(a: Any, *, b: Any, c: Any = 3) -> None: ...


@queue.task
def positional(a: Any, b: Any = 2, /, c: Any = 3) -> None: ...


@queue.task
def anything(a: Any, **more: Any) -> None: ...


def test_arguments_become_a_map_by_the_names_of_the_parameters() -> None:
    assert bound(plain, 1) == bound(plain, a=1) == {"a": 1}
    assert bound(plain, 1, 5) == bound(plain, b=5, a=1) == {"a": 1, "b": 5}
    assert bound(keyword, 1, b=2) == {"a": 1, "b": 2}
    assert bound(positional, 1, 2, 3) == bound(positional, 1, 2, c=3) == {"a": 1, "b": 2, "c": 3}
    assert bound(anything, 1, x=2, more=3) == {"a": 1, "x": 2, "more": 3}


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "message"),
    [
        (plain, (), {}, "missing a required argument: 'a'"),
        (plain, (1, 2, 3), {}, "too many positional arguments"),
        (plain, (1,), {"a": 2}, "multiple values for argument 'a'"),
        (plain, (1,), {"c": 2}, "unexpected keyword argument 'c'"),
        (keyword, (1, 2), {}, "too many positional arguments"),
        (positional, (), {"a": 1}, "'a'"),
        (anything, (), {"x": 1}, "missing a required argument: 'a'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=f"task '{task.name}': .*{message}"):
        task.bind(*args, **kwargs)


def test_bound_arguments_do_not_show_themselves() -> None:
    call = plain.bind("a secret")
    assert isinstance(call, Call)
    assert "secret" not in repr(call)


def test_an_argument_that_hides_behind_a_positional_one_is_refused() -> None:
    def taken(a: int, /, **more: int) -> None: ...

    task = Queue("tasks").task(taken)
    with pytest.raises(TypeError, match="'a' twice"):
        task.bind(1, a=2)
