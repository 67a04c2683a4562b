"""Recognize splits that are wrong: shared images, exchanged classes, order."""

from collections.abc import Callable

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding

RULES: tuple[Callable[[Facts], Finding | None], ...] = ()
