"""The configuration's own manual, made from the model: a Markdown page and a JSON Schema.

Called by `rdsp config reference` and `rdsp config schema`, and by what checks that the committed page is fresh.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from rdsp.config.hints import all_tables
from rdsp.config.model import Config, Reload, Setting, default_of, settings, tables

_HEAD: Final = """\
# Configuration

The file is TOML. Unknown keys are errors. Names and defaults are those of Amazon RDS Proxy where it has the setting;
its own name is given then.

- **Durations** are seconds, as a number or with a unit: `30`, `"500ms"`, `"30s"`, `"5m"`, `"24h"`.
- **Sizes** are bytes, as a whole number or with a unit: `65536`, `"64KiB"`, `"16MiB"`, `"1GiB"`.
- **Secrets** may take environment variables: `"${DB_PASSWORD}"`. `$${NAME}` stands for a literal `${NAME}`. No other
  setting takes them.
- **Paths** start at the folder of the configuration file when they are relative.

`rdsp check FILE` reads a file and prints every fault; nothing is started. A smallest file:

```toml
[[proxies]]
listen = "127.0.0.1:6432"
target.url = "postgresql://app:${DB_PASSWORD}@db.example:5432/shop"
```

## When a change takes effect

The file is read again on SIGHUP.

| class | meaning |
|---|---|
"""


def markdown() -> str:
    """The reference page."""
    lines = [_HEAD + "\n".join(f"| {reload.value} | {reload.help} |" for reload in Reload)]
    for where, model in all_tables():
        lines.append(f"\n## {where if model is Config else f'`{where}`'}".replace("the top", "The top"))
        lines.append(f"\n{_summary(model)}")
        for key, about in settings(model).items():
            lines.append(_entry(model, key, about))
        inner = tables(model)
        if inner:
            listed = ", ".join(f"`{key}`" for key in inner)
            lines.append(f"\nTables inside: {listed}.")
    return "\n".join(lines) + "\n"


def _summary(model: type[Any]) -> str:
    """The class's docstring behind its colon."""
    text = inspect.cleandoc(model.__doc__ or "").partition(": ")[2] or inspect.cleandoc(model.__doc__ or "")
    return text[:1].upper() + text[1:]


def _entry(model: type[Any], key: str, about: Setting) -> str:
    facts = [about.kind.title, f"default {default_text(model, key, about)}"]
    facts.insert(1, f"range {about.kind.limits()}" + (" percent" if about.kind.unit == "percent" else ""))
    facts.append(f"change: {about.reload.value}")
    if about.rds:
        facts.append(f"RDS Proxy: `{about.rds}`")
    return f"\n### `{key}`\n\n{about.help}\n\n*{'; '.join(facts)}*"


def default_text(model: type[Any], key: str, about: Setting) -> str:
    """A setting's default for people."""
    value = default_of(model, key)
    if about.default or value is None:
        return about.default or "none"
    return f"`{about.kind.show(value)}`"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file, for editors. It knows each setting, not what concerns two of them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rdsp configuration",
        **_schema(Config),
    }


def _schema(model: type[Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key, about in settings(model).items():
        properties[key] = {**about.kind.schema(), "description": about.help}
        value = default_of(model, key)
        if value is not None and not about.default:
            properties[key]["default"] = list(value) if isinstance(value, tuple) else value
    for key, table in tables(model).items():
        inner = _schema(table.model)
        properties[key] = {"type": "array", "items": inner} if table.many else inner
        properties[key]["description"] = table.help
    return {"type": "object", "additionalProperties": False, "properties": properties}
