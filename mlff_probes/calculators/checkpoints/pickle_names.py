"""What a pickle names, read from its instructions alone; nothing is unpickled."""

from __future__ import annotations

import _compat_pickle
import pickletools
from collections.abc import Iterator


def modern(text: str) -> str:
    """A name as Python 3 has it, for a message: `torch.save` writes those of Python 2 (``__builtin__.exec``)."""
    module, _, name = text.rpartition(".")
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}" if module else name


def named(data: bytes) -> list[str]:
    """What a pickle names (``module.name``), in the order of the file; nothing is unpickled.

    A name that the pickle puts together as it runs is given as far as it can be told: the two texts before
    STACK_GLOBAL, whether they stand there or come from the memo. An opcode that imports by number is named itself.
    """
    return list(dict.fromkeys(_named(data)))


def _named(data: bytes) -> Iterator[str]:
    texts: list[str] = []
    memo: dict[int, str] = {}
    last: object = None
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("GLOBAL", "INST"):
            yield ".".join(str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:]) if len(texts) > 1 else "a name that cannot be resolved"
        elif opcode.name in ("EXT1", "EXT2", "EXT4"):
            yield f"the pickle extension {argument}"
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            if isinstance(last, str):
                memo[len(memo) if argument is None else int(argument)] = last
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = ""
            continue
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            last = memo.get(int(argument or 0), "")
            texts.append(last)
            continue
        last = argument
        if isinstance(argument, str) and "UNICODE" in opcode.name:
            texts.append(argument)
        elif opcode.name == "GLOBAL":
            last = None
