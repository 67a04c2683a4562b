"""Recognize images that are not what a network needs."""

from collections.abc import Callable

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding

RULES: tuple[Callable[[Facts], Finding | None], ...] = ()
