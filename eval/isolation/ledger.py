"""What was tried, and what was found."""

from collections.abc import Iterable

import msgspec

from eval.isolation.canaries import Canary


class Attempt(msgspec.Struct, frozen=True):
    """One thing that was tried: at which door, on what, as whom, and what came of it."""

    door: str
    name: str
    caller: str
    tried: str
    outcome: str


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as promised; `leaked` are the canaries that were seen."""

    door: str
    name: str
    caller: str
    what: str
    leaked: list[str] = []


class DoorTally(msgspec.Struct, frozen=True):
    """A door's line in the table."""

    door: str
    attempts: int
    findings: int
    remark: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    service: str
    attempts: int
    leaks: int
    took_s: float
    doors: list[DoorTally]
    findings: list[Finding]
    tried: list[Attempt]


class Ledger:
    """Keeps attempts and findings, door by door in the order in which the doors were opened."""

    def __init__(self) -> None:
        self._doors: dict[str, str] = {}
        self._attempts: list[Attempt] = []
        self._findings: list[Finding] = []

    def open(self, door: str, remark: str = "") -> None:
        """Give a door its line, also when nothing comes to be tried there; the remark says why that is."""
        self._doors[door] = remark or self._doors.get(door, "")

    def tried(self, door: str, name: str, caller: str, tried: str, outcome: str) -> None:
        """Count an attempt."""
        self.open(door)
        self._attempts.append(Attempt(door, name, caller, tried, outcome))

    def found(self, door: str, name: str, caller: str, what: str, leaked: Iterable[Canary] = ()) -> None:
        """Keep a finding; the same one a second time says nothing new."""
        self.open(door)
        finding = Finding(door, name, caller, what, sorted(canary.what for canary in leaked))
        if finding not in self._findings:
            self._findings.append(finding)

    def report(self, service: str, took_s: float) -> Report:
        """All of it."""
        return Report(
            service=service,
            attempts=len(self._attempts),
            leaks=len(self._findings),
            took_s=round(took_s, 1),
            doors=[self._tally(door, remark) for door, remark in self._doors.items()],
            findings=list(self._findings),
            tried=list(self._attempts),
        )

    def _tally(self, door: str, remark: str) -> DoorTally:
        attempts = sum(attempt.door == door for attempt in self._attempts)
        return DoorTally(door, attempts, sum(finding.door == door for finding in self._findings), remark)
