"""Compile the modules that pyproject.toml names (`tool.rdsp.compiled`) by mypyc, into a package of their own.

scripts/compile.py FOLDER: makes FOLDER/rdsp_compiled, unless it is there and fresh. Without a C compiler it says so and
ends well, and nothing is compiled; with RDSP_REQUIRE_SERVERS set (continuous integration) that is a failure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["RDSP_SCANNER"] = "python"

from rdsp_codecs.choice import DIGEST_FILE, PACKAGE, digest, modules_in  # noqa: E402 - from the sources beside it

_DIRECT_CALLS = ("-fno-semantic-interposition", "-fno-plt")
"""Functions of the extension call each other, and can be inlined: nobody puts others in their place."""


def recipe() -> str:
    """What else the outcome depends on: how it is made, and by what."""
    files = (Path(__file__), ROOT / "scripts" / "compiled.h", ROOT / "pyproject.toml")
    parts = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(parts + f"{version('mypy')} {sys.version}".encode()).hexdigest()


def missing() -> str:
    """What is missing to compile with, in words; "": nothing."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"There is no C compiler ({compiler})."
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Python's headers are missing."
    return ""


def obtain() -> None:
    """Install Debian's compiler and headers where that is allowed."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    headers = [f"libpython{python}-dev"] if sys.prefix != sys.base_prefix and sys.base_prefix == "/usr" else []
    subprocess.run([ROOT / "scripts" / "debian", "gcc", "libc6-dev", *headers], check=False)


def build(modules: list[str], folder: Path) -> None:
    """Compile into `folder`."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    with tempfile.TemporaryDirectory() as scratch:
        files = [module.replace(".", "/") + ".py" for module in modules]
        header = str(ROOT / "scripts" / "compiled.h")
        extensions = mypycify(files, opt_level="3", debug_level="0", group_name="rdsp", target_dir=scratch)
        for extension in extensions:
            extension.extra_compile_args = [*extension.extra_compile_args, "-include", header, *_DIRECT_CALLS]
            extension.extra_link_args = [*extension.extra_link_args, "-Wl,-Bsymbolic-functions"]
        command = build_ext(Distribution({"name": PACKAGE, "ext_modules": extensions, "packages": []}))
        command.build_lib, command.build_temp = str(folder), scratch
        command.ensure_finalized()
        command.run()


def main() -> int:
    """Returns the exit status."""
    os.chdir(ROOT)
    target = Path(sys.argv[1]) / PACKAGE
    made = target / DIGEST_FILE
    stamp = f"{digest(ROOT)}\n{recipe()}\n"
    if made.exists() and made.read_text() == stamp and modules_in(target):
        return 0
    if missing():
        obtain()
    shutil.rmtree(target, ignore_errors=True)
    if missing():
        print(f"{missing()} The modules are not compiled: all works, only slower.", file=sys.stderr)
        return 1 if os.environ.get("RDSP_REQUIRE_SERVERS") else 0
    modules = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["rdsp"]["compiled"]
    print(f"Compiling {len(modules)} modules ...", file=sys.stderr)
    target.mkdir(parents=True)
    build(modules, target)
    (target / "__init__.py").write_text('"""Modules of rdsp, compiled by mypyc: see `rdsp_codecs.choice`."""\n')
    made.write_text(stamp)
    return 0


if __name__ == "__main__":
    sys.exit(main())
