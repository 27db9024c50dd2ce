"""One table of a TOML file that knows which keys were asked for, so that a misspelt one is an error."""

from __future__ import annotations

import re
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeVar, get_args

from esp_hil.errors import ConfigError, did_you_mean

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def stays_inside(path: str) -> bool:
    """Whether a relative path with forward slashes cannot lead out of its folder, on any system."""
    parts = PurePosixPath(path).parts
    return not (path.startswith(("/", "~")) or "\\" in path or ":" in path or "\0" in path or ".." in parts)


def read_toml(source: Path | Traversable) -> dict[str, Any]:
    """What a file says, unchecked.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise ConfigError(f"{source}: {cause}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None


class TomlTable:
    """One table of the file, that knows which keys were asked for."""

    def __init__(self, path: Path, where: str, values: object) -> None:
        self.path, self.where = path, where
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: [{where}] must be a table")
        self.values: dict[str, Any] = values
        self.known: list[str] = []

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """The table at the top of a file.

        Raises:
            ConfigError: it cannot be read, or is not TOML.
        """
        return cls(path, "", read_toml(path))

    def name(self, key: str) -> str:
        """The key with the tables around it, for messages."""
        return f"{self.where}.{key}" if self.where else key

    def fail(self, key: str, problem: str, hint: str = "") -> ConfigError:
        """The error for a key."""
        return ConfigError(f"{self.path}: {self.name(key)} {problem}", hint=hint)

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Value of `key`; an integer serves as a float; without a default the key must be there."""
        self.known.append(key)
        value = self.values.get(key, default)
        if value is None:
            raise self.fail(key, "is missing")
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self.fail(key, f"is {value!r}", f"give a {kind.__name__}")
        return value

    def choice(self, key: str, kind: object, default: str | None = None) -> Any:  # noqa: ANN401
        """A string that is one of the Literal `kind`."""
        value = self.take(key, str, default)
        if value not in get_args(kind):
            raise self.fail(key, f"is {value!r}", f"one of: {', '.join(get_args(kind))}")
        return value

    def many(self, key: str, kind: type[T], default: list[T] | None = None) -> tuple[T, ...]:
        """A list whose elements are all of `kind`; integers serve as floats."""
        values = self.take(key, list, default)
        if kind is float:
            values = [float(value) if type(value) is int else value for value in values]
        if any(type(value) is not kind for value in values):
            raise self.fail(key, f"is {values!r}", f"give a list of {kind.__name__}")
        return tuple(values)

    def file(self, key: str, default: str | None = None) -> str:
        """Path of a file in the folder of the TOML file, with forward slashes; it must stay inside.

        Files of other people come with other people's paths: `..`, an absolute path or a drive would read or write
        anywhere.
        """
        value = self.take(key, str, default)
        if value and not stays_inside(value):
            raise self.fail(key, f"is {value!r}", f"a file inside {self.path.parent}, as `inputs.npz`")
        return value

    def names(self) -> tuple[str, ...]:
        """The keys of this table, where each names something that becomes a folder or a part of a file's name."""
        for name in self.values:
            if not _NAME.fullmatch(name):
                raise self.fail(
                    repr(name),
                    "cannot be a name",
                    "letters, digits, `_`, `-` and `.`, a letter or digit first",
                )
        return tuple(self.values)

    def share(self, key: str) -> float:
        """A number from 0 to 1."""
        value = self.take(key, float)
        if not 0 <= value <= 1:
            raise self.fail(key, f"is {value}", "give a share from 0 to 1")
        return value

    def count(self, key: str, *, least: int = 1) -> int:
        """A whole number not below `least`."""
        value = self.take(key, int)
        if value < least:
            raise self.fail(key, f"is {value}", f"give {least} or more")
        return value

    def table(self, key: str) -> TomlTable:
        """The table under `key`, which must be there."""
        self.known.append(key)
        if key not in self.values:
            raise self.fail(key, "is missing")
        return TomlTable(self.path, self.name(key), self.values[key])

    def tables(self, key: str) -> tuple[TomlTable, ...]:
        """The tables of an array of tables, `[[key]]`; none if it is not there."""
        values = self.take(key, list, [])
        return tuple(TomlTable(self.path, f"{self.name(key)}[{n}]", value) for n, value in enumerate(values))

    def optional(self, key: str) -> TomlTable:
        """The table under `key`, empty if it is not there."""
        self.values.setdefault(key, {})
        return self.table(key)

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.values:
            if key not in self.known:
                known = f"known here: {', '.join(sorted(self.known))}"
                hint = f"{did_you_mean(key, self.known)} {known}".strip()
                raise self.fail(key, f"is not a key of {self.path.name}", hint)
