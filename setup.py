"""What pyproject.toml cannot say: `make wheel` packs compiled modules as well, and the wheel is then of a platform.

RDSP_COMPILED names the folder that `scripts/compile.py` filled; without it the wheel is pure Python.
"""

import os
import shutil
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

PACKAGE = Path(os.environ.get("RDSP_COMPILED", "")) / "rdsp_compiled"
COMPILED = "RDSP_COMPILED" in os.environ and PACKAGE.is_dir()


class WithCompiled(build_py):
    """Packs the compiled modules beside the written ones."""

    def run(self) -> None:
        """See setuptools."""
        super().run()
        if COMPILED and not self.editable_mode:
            shutil.copytree(PACKAGE, Path(self.build_lib) / PACKAGE.name, dirs_exist_ok=True)


class PlatformDistribution(Distribution):
    """A distribution that says whether it is of one platform."""

    def has_ext_modules(self) -> bool:
        """See setuptools."""
        return COMPILED


setup(cmdclass={"build_py": WithCompiled}, distclass=PlatformDistribution)
