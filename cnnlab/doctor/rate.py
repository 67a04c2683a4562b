"""Recognize wrong learning rates, schedules, weight decay and number formats."""

from collections.abc import Callable

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding

RULES: tuple[Callable[[Facts], Finding | None], ...] = ()
