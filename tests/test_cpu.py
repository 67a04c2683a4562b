"""Test in new processes, as the settings last as long as a process does."""

import os
import platform
import subprocess
import sys

import pytest

# Pages that are cleared when 64 MiB are taken again, after they were freed.
PROGRAM = """
import resource
import numpy as np
from cnnlab import cpu
cpu.prepare()

def fill():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64 << 20, dtype=np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fill()
print(min(fill() for _ in range(3)))
"""


def pages(**environment: str) -> int:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is about glibc")
def test_freed_memory_is_kept_unless_the_user_has_set_otherwise():
    assert pages() < 20
    assert pages(MALLOC_TOP_PAD_="131072") > 20  # a setting of the user is respected


def test_a_wait_policy_set_by_the_user_stays():
    program = "import os; from cnnlab import cpu; cpu.prepare(); print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in (({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({}, "PASSIVE")):
        variables = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | given
        done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)
        assert done.stdout.strip() == expected
