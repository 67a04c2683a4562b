"""All rules are asked; causes come before what they bring about."""

import pytest

from cnnlab.doctor import diagnosis
from cnnlab.doctor.findings import FAULTS, Finding, NotMeasured
from tests.doctor.helpers import Told, curves


def finding(fault: str, confidence: float) -> Finding:
    return Finding(fault, confidence, "evidence", "advice", "cnnlab train")


@pytest.fixture
def diagnose(monkeypatch):
    """Let rules find what they are told to."""

    def run(*findings: Finding | None):
        rules = tuple(lambda facts, found=found: found for found in findings)
        monkeypatch.setattr(diagnosis, "RULES", rules)
        found = diagnosis.diagnose(Told(lambda *_, **__: 1.0, curves([0.5])))
        return [finding.fault for finding in found.findings]

    return run


def test_each_fault_has_a_rule_of_its_name():
    assert [rule.__name__ for rule in diagnosis.RULES] and {rule.__name__ for rule in diagnosis.RULES} == set(FAULTS)


def test_the_most_certain_comes_first_and_guesses_are_left_out(diagnose):
    found = diagnose(finding("overfitting", 0.5), None, finding("tiny_batches", 0.8), finding("underflow", 0.1))
    assert found == ["tiny_batches", "overfitting"]


def test_a_cause_comes_before_what_it_brings_about(diagnose):
    assert diagnose(finding("dead_relus", 0.95), finding("rate_diverges", 0.8)) == ["rate_diverges", "dead_relus"]
    assert diagnose(finding("dead_relus", 0.95), finding("rate_diverges", 0.4))[0] == "dead_relus"  # hardly a cause


def test_what_cannot_be_measured_is_told_with_the_faults_that_it_hides(monkeypatch):
    def lost(facts):
        raise NotMeasured("the images are gone")

    lost.__name__ = "dead_relus"
    monkeypatch.setattr(diagnosis, "RULES", (lost,))
    found = diagnosis.diagnose(Told(lambda *_, **__: 1.0, curves([0.5])))
    assert (found.findings, dict(found.not_measured)) == ([], {"the images are gone": ["dead_relus"]})
