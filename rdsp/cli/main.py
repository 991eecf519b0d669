"""The command `rdsp`: `run`, `check`, `config`, `demo`, `engines`.

The console script's target. Exit statuses: 0 fine, 1 the proxy failed while it ran, 2 a bad command line or
configuration (one line per fault on stderr, nothing was started).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NoReturn

import attrs
import click
import trio

from rdsp.cli.show import engines_table, summary
from rdsp.config.load import from_target, load
from rdsp.config.model import Config, Logging
from rdsp.config.reference import json_schema, markdown
from rdsp.config.rules import warnings
from rdsp.errors import ConfigError, RdspError
from rdsp_codecs.choice import CHOICE
from rdsp_codecs.errors import PluginError
from rdsp_codecs.registry import installed

FAILED: Final = 1
BAD_CONFIG: Final = 2


def _version() -> str:
    try:
        return version("rdsp")
    except PackageNotFoundError:  # run from a source folder that is not installed
        return "unknown"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(_version(), "--version", prog_name="rdsp", message=f"%(prog)s %(version)s ({CHOICE.name})")
def cli() -> None:
    """A database proxy: many client connections share few database connections."""
    if CHOICE.trouble:
        click.echo(f"rdsp: {CHOICE.trouble}", err=True)
        _exit(BAD_CONFIG)
    if CHOICE.note:
        click.echo(f"rdsp: warning: {CHOICE.note}; the written ones run, which are slower", err=True)


@cli.command()
@click.argument("config", required=False, type=click.Path(dir_okay=False))
@click.option(
    "--target", metavar="URL", help="The database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE, mysql://, mariadb://."
)
@click.option("--listen", metavar="HOST:PORT", multiple=True, help="Where to listen. May be given several times.")
@click.option("--max-backends", metavar="N", type=int, help="The most database connections.")
@click.option("--log-format", type=click.Choice(["console", "json"]), help="Over the configuration's own.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Likewise.")
def run(
    config: str | None,
    target: str | None,
    listen: tuple[str, ...],
    max_backends: int | None,
    log_format: str | None,
    log_level: str | None,
) -> None:
    """Run the proxy, with the file CONFIG or with --target and --listen.

    SIGTERM and SIGINT let sessions end, a second one stops at once. SIGHUP reads CONFIG again. A password on the
    command line can be seen by every user of the machine; in --target, too, '${NAME}' takes an environment variable.
    """
    if (config is None) == (target is None):
        raise click.UsageError("give either a configuration file or --target")
    if target is None and (listen or max_backends is not None):
        raise click.UsageError("--listen and --max-backends belong to --target; the file says both for itself")
    if target is not None and not listen:
        raise click.UsageError("--target needs --listen")

    def read() -> Config:
        found = load(config) if config is not None else from_target(target or "", listen, max_backends)
        return attrs.evolve(found, logging=_logging(found.logging, log_format, log_level))

    found = _or_faults(read)
    for text in warnings(found):
        click.echo(f"rdsp: warning: {text}", err=True)
    _exit(_serve(found, read if config is not None else None))


def _logging(logging: Logging, log_format: str | None, log_level: str | None) -> Logging:
    return attrs.evolve(logging, format=log_format or logging.format, level=log_level or logging.level)


def _serve(config: Config, reload: Callable[[], Config] | None) -> int:
    # Late: `rdsp check` and `rdsp --help` need nothing of the runtime.
    from rdsp.app import main as serve

    try:
        return trio.run(partial(serve, config, reload=reload))
    except KeyboardInterrupt:
        return FAILED
    except BaseExceptionGroup as group:
        return _failed(group)
    except (ConfigError, PluginError, RdspError, OSError) as error:
        return _failed(error)


def _failed(error: BaseException) -> int:
    """Say why the proxy could not go on. An error that nobody foresaw keeps its traceback."""
    found = _leaves(error)
    bad = [one for one in found if isinstance(one, ConfigError)]
    if bad:
        for one in bad:
            _print_faults(one)
        return BAD_CONFIG
    if not all(isinstance(one, RdspError | PluginError | OSError | KeyboardInterrupt) for one in found):
        raise error
    for text in dict.fromkeys(str(one) or type(one).__name__ for one in found):
        click.echo(f"rdsp: {text}", err=True)
    return BAD_CONFIG if any(isinstance(one, PluginError) for one in found) else FAILED


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


@cli.command()
@click.argument("config", type=click.Path(dir_okay=False))
def check(config: str) -> None:
    """Read the file CONFIG and print every fault, or a summary. Starts nothing, connects to nothing."""
    found = _or_faults(lambda: load(config))
    click.echo(summary(found))
    for warning in warnings(found):
        click.echo(f"warning: {warning}", err=True)


@cli.group("config")
def config_group() -> None:
    """The configuration's manual."""


@config_group.command()
def reference() -> None:
    """Print the configuration's reference page (Markdown)."""
    click.echo(markdown(), nl=False)


@config_group.command()
def schema() -> None:
    """Print the configuration's JSON Schema."""
    click.echo(json.dumps(json_schema(), indent=2))


@cli.command()
@click.option("--duration", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="Then end. [no limit]")
@click.option("--clients", metavar="N", type=click.IntRange(1, 10_000), default=500, show_default=True)
@click.option("--backends", metavar="N", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--port", metavar="P", type=click.IntRange(1, 65535), help="Of the proxy. [any free one]")
@click.option("--engine", type=click.Choice(["postgres", "mysql", "mariadb"]), default="postgres", show_default=True)
@click.option("--server", metavar="PROGRAM", default="", help="mysqld or mariadbd, where it is not found by itself.")
def demo(duration: float | None, clients: int, backends: int, port: int | None, engine: str, server: str) -> None:
    """Start a private database, the proxy and many clients, and show what happens."""
    # Late: it brings its own database and drivers, which nothing else needs.
    from rdsp.demo import main as run_demo

    _exit(run_demo(duration, clients, backends, port, engine, server))


@cli.command()
def engines() -> None:
    """List the installed engines, and what is wrong with those that cannot be used.

    With the number of the interface that each was written for, the version and the name of the package that brought
    it, and what it serves. The exit status is 1 when one cannot be used; the others are not harmed by it.
    """
    found = installed()
    engines_table(found)
    if any(one.trouble for one in found):
        _exit(FAILED)


def _or_faults(read: Callable[[], Config]) -> Config:
    try:
        return read()
    except ConfigError as error:
        _exit_with_faults(error)


def _exit_with_faults(error: ConfigError) -> NoReturn:
    _print_faults(error)
    _exit(BAD_CONFIG)


def _print_faults(error: ConfigError) -> None:
    prefix = f"{error.source}: " if error.source else "rdsp: "
    for fault in error.faults:
        click.echo(f"{prefix}{fault}", err=True)


def _exit(status: int) -> NoReturn:
    raise click.exceptions.Exit(status)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit.

    Args:
        arguments: without the program's name; None: the process's own.
    """
    cli.main(args=None if arguments is None else list(arguments), prog_name="rdsp")
