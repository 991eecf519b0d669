"""What the command line prints for people."""

from __future__ import annotations

from collections.abc import Sequence

import click

from rdsp.config.model import Config, Proxy
from rdsp_codecs.registry import Installed


def summary(config: Config) -> str:
    """A good configuration in a few lines, without secrets."""
    return "\n".join(_proxy(proxy) for proxy in config.proxies)


def _proxy(proxy: Proxy) -> str:
    target, group = proxy.target, proxy.target_group
    cap = f"{group.max_connections_percent} % of its max_connections"
    if group.max_backends is not None:
        cap += f", at most {group.max_backends}"
    users = [entry.username for entry in proxy.auth if entry.username is not None]
    if target.username is not None:
        users.insert(0, target.username)
    folders = [entry.secrets_folder for entry in proxy.auth if entry.secrets_folder is not None]
    who = ", ".join(dict.fromkeys([*users, *(f"those in {folder}" for folder in folders)]))
    return "\n".join(
        [
            f"{proxy.name} ({proxy.engine})",
            f"  listens on   {', '.join(proxy.listen)}{' (TLS required)' if proxy.require_tls else ''}",
            f"  target       {target.shown}{f'/{target.database}' if target.database else ''}",
            f"  backends     {cap}",
            f"  users        {who or 'any, from this machine only'}",
        ]
    )


def engines_table(found: Sequence[Installed]) -> None:
    """Print the installed engines; one that cannot be used says why, in a line of its own on stderr."""
    rows = [("ENGINE", "API", "VERSION", "FROM", "FAMILY", "URL SCHEMES", "PORT")]
    for one in found:
        codec = one.codec
        if codec is not None:
            origin = "built in" if one.built_in else one.distribution or one.where
            rows.append(
                (
                    one.name,
                    str(codec.api),
                    one.version or "-",
                    origin,
                    codec.engine_family,
                    ", ".join(codec.schemes),
                    str(codec.default_port),
                )
            )
    if len(rows) == 1:
        click.echo("no engine is installed" if not found else "no engine can be used")
    else:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for one in found:
        if one.trouble:
            click.echo(f"rdsp: {one.trouble}", err=True)
