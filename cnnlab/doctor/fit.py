"""Recognize networks that learn too much by heart or too little, and scores that say less than they seem to."""

from collections.abc import Callable

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding

RULES: tuple[Callable[[Facts], Finding | None], ...] = ()
