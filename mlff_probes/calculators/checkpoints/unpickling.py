"""An unpickler that makes only what a MACE model consists of, and rehearses it before it makes anything.

Python's unpickler is a small machine whose program is the file. Here it keeps the instructions that `torch.save`
writes, and each of those that can reach code is replaced:

- GLOBAL gives a `Name`, a label that can neither be called nor changed, except for activation functions;
- REDUCE calls nothing but the constructors in `CALLS`, each of which checks its arguments;
- NEWOBJ makes empty modules and e3nn's tuples of numbers, without their `__init__`;
- BUILD sets the state of a module that NEWOBJ has just made, once: no class, function or shared object can be
  changed, and no `__setstate__` is called but the two that are known;
- everything else (INST, OBJ, STACK_GLOBAL, the extension registry, …) is refused.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from mlff_probes.calculators.checkpoints.allowed import TUPLES, check_state, resolve
from mlff_probes.calculators.checkpoints.constructors import (
    CALLS,
    Name,
    Stand,
    is_numbers,
    is_plain,
    needs,
    unchecked,
)
from mlff_probes.calculators.checkpoints.embedded_code import RefusedError
from mlff_probes.calculators.checkpoints.pickle_names import named


class _Instructions(dict[int, Callable[[Any], None]]):
    """The instructions of pickle that `torch.save` writes; any other refuses the file."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise RefusedError(f"the pickle instruction {bytes([code])!r}, which torch.save does not write")


class GuardedUnpickler(pickle._Unpickler):
    """Python's unpickler (its Python version, whose instructions can be replaced) with those of the table above."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, **_: Any) -> None:
        super().__init__(file, encoding="utf-8")
        self._empty: dict[int, tuple[Any, Any]] = {}  # by id: objects that NEWOBJ made and BUILD has not filled yet

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """See `resolve`."""
        return resolve(f"{module_name}.{global_name}")

    def _load_reduce(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if not (type(name) is Name and name.text in CALLS and type(arguments) is tuple):
            raise RefusedError(f"a call of {_shown(name)}")
        self.append(self._called(name.text, arguments))

    def _called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        check, make = CALLS[name]
        check(*arguments)
        return make(*arguments)

    def _load_newobj(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if not (type(name) is Name and name.target is not None and type(arguments) is tuple):
            raise RefusedError(f"a new {_shown(name)}")
        if name.text in TUPLES:
            self.append(self._tuple(name, arguments))
            return
        needs(arguments == (), f"a new {name.text}")
        made = self._module(name)
        self._empty[id(made)] = (made, name.target)
        self.append(made)

    def _tuple(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        needs(all(is_numbers(part) for part in arguments), f"a new {name.text}")
        return name.target.__new__(name.target, *arguments)

    def _module(self, name: Name) -> Any:
        return object.__new__(name.target)

    def _load_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if type(made) is OrderedDict:  # a state_dict, which has the versions of its modules as an attribute
            needs(type(state) is dict and set(state) == {"_metadata"} and is_plain(state), "a state for OrderedDict")
            vars(made).update(state)
            return
        if type(made).__module__ == "numpy.dtypes":  # its byte order, which is stated again
            needs(is_plain(state) and state[:2] in ((3, "<"), (3, "|")), "a state for numpy.dtype")
            return
        if id(made) not in self._empty:
            raise RefusedError(f"a state for {_shown(made)}")
        _, kind = self._empty.pop(id(made))
        check_state(kind, state)
        self._filled(made, kind, state)

    def _filled(self, made: Any, kind: Any, state: dict[str, Any]) -> None:
        kind.__setstate__(made, state)

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dict()[key] = value

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._dict().update(zip(items[::2], items[1::2], strict=True))

    def _dict(self) -> Any:
        if type(self.stack[-1]) not in (dict, OrderedDict):
            raise RefusedError(f"items for {_shown(self.stack[-1])}")
        return self.stack[-1]

    def _load_append(self) -> None:
        value = self.stack.pop()
        self._list().append(value)

    def _load_appends(self) -> None:
        items = self.pop_mark()
        self._list().extend(items)

    def _list(self) -> Any:
        if type(self.stack[-1]) is not list:
            raise RefusedError(f"elements for {_shown(self.stack[-1])}")
        return self.stack[-1]

    dispatch = _Instructions(
        {
            opcode[0]: pickle._Unpickler.dispatch[opcode[0]]
            for opcode in (
                pickle.PROTO, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.GLOBAL, pickle.BINPERSID,
                pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2,
                pickle.LONG1, pickle.LONG4, pickle.BINFLOAT, pickle.BINUNICODE, pickle.EMPTY_TUPLE, pickle.TUPLE,
                pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.BINPUT,
                pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET,
            )
        }
        | {
            pickle.REDUCE[0]: _load_reduce,
            pickle.NEWOBJ[0]: _load_newobj,
            pickle.BUILD[0]: _load_build,
            pickle.SETITEM[0]: _load_setitem,
            pickle.SETITEMS[0]: _load_setitems,
            pickle.APPEND[0]: _load_append,
            pickle.APPENDS[0]: _load_appends,
        }
    )  # fmt: skip


class Rehearsal(GuardedUnpickler):
    """An unpickling that makes plain data alone: a `Stand` takes the place of each tensor, module and graph."""

    def persistent_load(self, pid: Any) -> Any:
        """Stand for a storage, whose bytes are read from the archive later."""
        return Stand("storage")

    def _called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        check, make = CALLS[name]
        check(*arguments)
        return make(*arguments) if check is unchecked else Stand(name)

    def _module(self, name: Name) -> Any:
        return Stand(name.text)

    def _filled(self, made: Any, kind: Any, state: dict[str, Any]) -> None:
        made.state = state


def _shown(value: object) -> str:
    return value.text if isinstance(value, Name) else f"an object of the type {type(value).__name__}"


def rehearse(data: bytes) -> None:
    """Refuse a pickle that would do anything but make a model; nothing of it is made.

    Raises
    ------
    RefusedError
        With all forbidden names if there are any, else with the first thing that is not allowed.
    """
    forbidden = list(_forbidden(data))
    if forbidden:
        raise RefusedError(", ".join(forbidden))
    Rehearsal(io.BytesIO(data)).load()


def _forbidden(data: bytes) -> Iterator[str]:
    for name in named(data):
        try:
            resolve(name)
        except RefusedError as error:
            yield str(error)


def load(file: Any, **_: Any) -> Any:
    """Stand for `pickle.load`, which torch uses for formats that are refused before."""
    raise RefusedError("a checkpoint of an older format")


Unpickler = GuardedUnpickler
"""The name under which torch takes it from this module (`torch.load(…, pickle_module=…)`)."""
