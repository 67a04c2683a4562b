"""Say in plain words what a section of a comparison shows, and what it leaves open."""

from collections.abc import Sequence

from cnnlab.comparison.columns import percent, short
from cnnlab.comparison.names import quoted
from cnnlab.comparison.records import GroupRecord, SectionRecord

NAMED = 2  # groups in a sentence; more are counted
CHEAPER = 1.5  # how many times cheaper a group must be to be worth a sentence


def conclude(section: SectionRecord) -> str:
    """Return which group is best, over which others that is shown, and which of the others is cheapest."""
    best, *others = section.groups
    value = f"a {section.figure_words} of {percent(best.mean)} % ({f'n = {best.n}' if best.n > 1 else 'a single run'})"
    if not others:
        return f"{quoted(best.label)} reaches {value}. There is no other group to compare it with."
    verdicts = {pair.b: pair.verdict for pair in section.pairs if pair.a == best.label}

    def those(verdict: str) -> list[GroupRecord]:
        return [group for group in others if verdicts[group.label] == verdict]

    beaten, chance, untested = those("better"), those("no significant difference"), those("not tested")
    in_part = [group for group in others if group not in (*beaten, *chance, *untested)]
    sentences = [f"{quoted(best.label)} is first with {value}."]
    if beaten:
        drawn = "seeds and folds" if section.folds else "seeds and test images"
        sentences.append(f"It is better than {_names(beaten, others)}: other {drawn} would show it too.")
    if chance:
        sentences.append(f"Its lead over {_names(chance, others)} may be chance{_cheapest([best, *chance])}.")
    if in_part:
        limits = {verdicts[group.label] for group in in_part}
        few_seeds = all("trained networks" in limit or "images only" in limit for limit in limits)
        only = "for these trained networks; more runs must show if it does in general" if few_seeds else "in part only"
        sentences.append(f"Its lead over {_names(in_part, others)} holds {only}.")
    if untested:
        sentences.append(f"There are too few runs to tell it from {_names(untested, others)}.")
    return " ".join(sentences)


def _names(groups: Sequence[GroupRecord], every: Sequence[GroupRecord]) -> str:
    """Return the names of the first groups, and how many others there are."""
    if len(groups) == len(every) > NAMED:
        return f"all {len(groups)} others"
    names = [quoted(group.label) for group in groups[: NAMED if len(groups) > NAMED + 1 else NAMED + 1]]
    names += [f"{len(groups) - len(names)} others"] if len(groups) > len(names) else []
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _cheapest(alike: Sequence[GroupRecord]) -> str:
    """Return which of the groups that chance cannot tell from the best one, the first, computes least."""
    known = [group for group in alike if group.macs]
    cheapest = min(known, key=lambda group: group.macs or 0, default=None)
    if cheapest is None or not alike[0].macs or not cheapest.macs or alike[0].macs < CHEAPER * cheapest.macs:
        return ""
    work = f"{short(cheapest.macs)} multiplications for an image instead of {short(alike[0].macs)}"
    return f", and {quoted(cheapest.label)} does with {work}"
