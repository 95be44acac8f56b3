"""Does something with a module when it has been imported, and imports none: what no task uses costs nothing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

Then = Callable[[ModuleType], None]


class AfterImport(MetaPathFinder):
    """Args: then: what is done, by the module's name. It raises nothing: what goes wrong is logged, and the module stays as it is."""

    def __init__(self, then: dict[str, Then]) -> None:
        self._then = then

    def install(self) -> None:
        sys.meta_path.insert(0, self)
        for name in self._then:
            module = sys.modules.get(name)
            if module is not None and not getattr(module.__spec__, "_initializing", False):
                self._do(module)

    def uninstall(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = self._found(fullname, path, target) if fullname in self._then else None
        if spec is not None and spec.loader is not None:
            self._hook(spec.loader)
        return spec

    def _found(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        finders = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in finders)
        return next((spec for spec in found if spec is not None), None)

    def _hook(self, loader: Any) -> None:
        executing = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            executing(module)
            self._do(module)

        loader.exec_module = exec_module

    def _do(self, module: ModuleType) -> None:
        try:
            self._then[module.__name__](module)
        except Exception as error:
            log.warning("[kpo] %s stays as it is: %s (%s)", module.__name__, type(error).__name__, error)
