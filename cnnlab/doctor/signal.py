"""Recognize what stops the signal in a network: forwards, or the gradients backwards."""

from collections.abc import Callable

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding

RULES: tuple[Callable[[Facts], Finding | None], ...] = ()
