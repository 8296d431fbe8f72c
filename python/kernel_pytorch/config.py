# SPDX-License-Identifier: Apache-2.0
"""KernelPyTorchConfig: the one settings table of the core, as Python sees it. Names, defaults and docs come from
C++."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import _native
from .errors import input_error


@dataclass(frozen=True)
class Setting:
    """One row: `source` says where the value comes from: default, environment or program."""

    name: str
    env: str
    type: str
    default: str
    value: str
    source: str
    doc: str

    def typed(self) -> int | bool | str:
        if self.type == "integer":
            return int(self.value)
        if self.type == "boolean":
            return self.value == "1"
        return self.value


class KernelPyTorchConfig:
    """The settings in force, read once. `config.num_threads`, `config["num_threads"]`, iteration over Setting rows.

    Set a value through its environment name before the first use of the package. Raises InputError for an unknown name.
    """

    def __init__(self) -> None:
        table = json.loads(_native.settings())
        self._settings = {
            row["name"]: Setting(**{field: row[field] for field in Setting.__dataclass_fields__})
            for row in table["settings"]
        }
        self.unknown: list[str] = table["unknown"]

    def __getitem__(self, name: str) -> int | bool | str:
        if name not in self._settings:
            raise input_error("config", f"the setting {name!r}", "one of the table", ", ".join(self._settings))
        return self._settings[name].typed()

    def __getattr__(self, name: str) -> int | bool | str:
        settings = self.__dict__.get("_settings", {})
        if name not in settings:
            raise AttributeError(f"no setting {name!r}; there are {', '.join(settings)}")
        return settings[name].typed()

    def __iter__(self) -> Iterator[Setting]:
        return iter(self._settings.values())

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._settings})

    def to_dict(self) -> dict[str, Any]:
        return {setting.name: setting.typed() for setting in self}

    def __repr__(self) -> str:
        return f"KernelPyTorchConfig({', '.join(f'{s.name}={s.typed()!r}' for s in self)})"
