"""What a check of a server, or of a queue, came to: the value that `anyq doctor` prints and a starting worker logs.

Rule: a finding that is not ``ok`` says what was found, why it matters, and what mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

import attrs

F = TypeVar("F")

Verdict = Literal["ok", "unknown", "warning", "problem"]

#: From harmless to grave.
VERDICTS: tuple[Verdict, ...] = ("ok", "unknown", "warning", "problem")


@attrs.frozen(kw_only=True)
class Finding:
    """What one check came to.

    Attributes:
        check: The check's name; ``""`` before anybody gave it one.
        verdict: ``ok``; ``warning``: it works, and will surprise somebody; ``problem``: it does not work, or jobs will
            be lost; ``unknown``: it could not be asked, mostly for want of a right.
        found: What was found.
        why: Why it matters; ``""`` where there is nothing to mend.
        mend: What mends it, mostly a command.
        queue: The queue that it is about; ``""`` for the server.
    """

    check: str = ""
    verdict: Verdict
    found: str
    why: str = ""
    mend: str = ""
    queue: str = ""

    @property
    def sentence(self) -> str:
        """All of it in one line, as a log has it."""
        return "; ".join(filter(None, (self.found + (f": {self.why}" if self.why else ""), self.mend)))


def ok(found: str) -> Finding:
    """All is as it should be."""
    return Finding(verdict="ok", found=found)


def unknown(found: str) -> Finding:
    """It could not be asked."""
    return Finding(verdict="unknown", found=found)


def warning(found: str, *, why: str, mend: str) -> Finding:
    """It works, and will surprise somebody."""
    return Finding(verdict="warning", found=found, why=why, mend=mend)


def problem(found: str, *, why: str, mend: str) -> Finding:
    """It does not work, or jobs will be lost."""
    return Finding(verdict="problem", found=found, why=why, mend=mend)


#: Judges facts by one thing.
Rule = Callable[[F], Finding]


def by_rules(facts: F, rules: Mapping[str, Rule[F]], *, queue: str = "") -> list[Finding]:
    """Look at facts by rules; a finding for each, under the rule's name."""
    return [attrs.evolve(rule(facts), check=name, queue=queue) for name, rule in rules.items()]


def gravest(findings: Iterable[Finding]) -> Verdict:
    """Give the gravest verdict; that something is not known is no worse than ok."""
    worst = max((VERDICTS.index(finding.verdict) for finding in findings), default=0)
    return VERDICTS[worst] if VERDICTS[worst] != "unknown" else "ok"
