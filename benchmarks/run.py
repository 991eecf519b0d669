"""What the command line of each benchmark does around its measurements: options, whose turn it is, what went wrong."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import Results
from benchmarks.targets import NotInstalled

_QUIET_LOAD = 0.5


def words_of(*known: str) -> Callable[[str], tuple[str, ...]]:
    """A type for argparse: words separated by commas, each one of `known`."""

    def words(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        wrong = [word for word in found if word not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: choose from {', '.join(known)}")
        return found

    return words


def numbers(text: str) -> tuple[int, ...]:
    """A type for argparse: numbers separated by commas."""
    return tuple(int(part) for part in text.split(","))


def turned(names: list[str], number: int) -> list[str]:
    """The order of the targets in a round: another one first in each."""
    first = number % max(1, len(names))
    return names[first:] + names[:first]


def say_missing(results: Results) -> None:
    """Say what cannot be measured, and why."""
    for name, why in results.missing.items():
        print(f"MISSING {results.HEADINGS[name]}: {why}", file=sys.stderr, flush=True)


def failed(results: Results, sentence: str) -> None:
    """Note that something went wrong, and go on."""
    results.failures.append(sentence)
    print(f"FAILED {sentence}", file=sys.stderr, flush=True)


def given_up(results: Results, work: Any, name: str, sentence: str) -> None:
    """Note that one of those that we are compared with cannot do something, and go on without it."""
    results.given_up[work, name] = sentence
    print(f"GIVEN UP {sentence}", file=sys.stderr, flush=True)


def status(run: Callable[[], Results], file: Path | None, enough: Callable[[set[str]], bool]) -> int:
    """Run everything, and hand over what was found.

    Args:
        file: also for the figures, as JSON.
        enough: whether with these targets the gates can be judged at all.

    Returns the exit status: 0 when all gates are held, but for what a target that we are compared with cannot do, 1
    when one is missed or a measurement failed, 2 when something to measure with is missing.
    """
    try:
        results = run()
    except NotInstalled as missing:
        print(missing, file=sys.stderr)
        return 2
    hand_over(results, file)
    if not enough(set(results.versions)):
        return 2
    missed = any(verdict.passed is False for verdict in results.verdicts())
    return 1 if missed or results.failures or results.unexcused() else 0


def hand_over(results: Results, file: Path | None) -> None:
    """Print what was found, and write it to a file too; say so when others were at work on the machine."""
    print(results.text())
    load = results.machine["load_before"]
    if isinstance(load, float) and load > _QUIET_LOAD:
        print(f"The machine was not quiet (load {load}): trust ratios, not figures.", file=sys.stderr)
    if file:
        file.write_text(json.dumps(results.document(), indent=1, ensure_ascii=False) + "\n")
