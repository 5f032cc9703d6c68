"""The answer of a comparison in one short line, and the report as text, with which a sweep ends."""

from collections.abc import Iterable

from config.text import counted
from plotting.reporting.compare import compare, undecided_searches
from plotting.reporting.findings import ControlFinding, Finding, Findings, MethodFinding, find
from plotting.reporting.groups import Group
from plotting.reporting.sentences import DIFFERENCE_LEGEND, SPREAD_LEGEND, capital, conclusions
from plotting.reporting.table import fixed, signed
from plotting.reporting.tables import describe, main_table
from training.results.method_names import METHODS
from training.results.result import Result

MOST_WORDS = 15
ORDER = ("better", "not shown", "one pair", "worse", "no pair")


def summary_text(results: Iterable[Result]) -> str:
    """Return for each dataset and split the answer, the methods side by side, and the evidence."""
    everything = list(results)
    parts = []
    has_differences = False
    for findings in map(find, compare(everything)):
        lines = [answer_line(findings), "", describe(findings.comparison), ""]
        lines += [main_table(findings).terminal(), ""]
        lines += [f"- {each}" for group in conclusions(findings).values() for each in group]
        parts.append("\n".join(lines).rstrip())
        has_differences |= any(each.chosen.difference for each in findings.methods)
    legend = [SPREAD_LEGEND] if parts else []
    if has_differences:
        legend = [f"{SPREAD_LEGEND} {DIFFERENCE_LEGEND}"]
    return "\n\n".join([*parts, *legend, *undecided_searches(everything)])


def answer_line(findings: Findings) -> str:
    """Return the answer behind what was compared."""
    return f"{findings.comparison.title}: {answer(findings)}."


def answer(findings: Findings) -> str:
    """Return what was found in at most MOST_WORDS words, the best method's number among them.

    The best is one whose gain is shown, if there is one; of several one that does without true
    labels of what it trains away, and of these that with the largest.
    """
    baseline = findings.comparison.baseline
    lead = _lead(findings)
    if lead is None:
        assert baseline is not None
        return f"Only the baseline was run: {_level(baseline)}{_collapse(baseline)}"
    if baseline is None:
        group = lead.chosen.group
        level = f"{_level(group)}, no baseline{_collapse(group)}"
        texts = [f"{name}: {level}" for name in _names(lead)]
    else:
        texts = [f"{name}{_verdict(lead, findings, baseline)}" for name in _names(lead)]
    short = (text for text in texts if len(text.split()) <= MOST_WORDS)
    return capital(next(short, texts[-1]))


def _lead(findings: Findings) -> MethodFinding | None:
    """Return the method to speak of: no control, unless there are only controls."""
    methods = [each for each in findings.methods if not each.method.is_control] or findings.methods

    def rank(found: MethodFinding) -> tuple[int, bool, float]:
        finding = found.chosen
        value = finding.difference.mean if finding.difference else finding.group.mean("validation")
        goodness = finding.metric.goodness(value)
        return -ORDER.index(finding.verdict), not found.method.is_told, goodness

    return max(methods, key=rank, default=None)


def _names(found: MethodFinding) -> list[str]:
    """Return names of a method at its layer, the most telling first and the shortest last."""
    group = found.chosen.group
    short = "the random control" if group.is_control else METHODS[group.kind].title
    layer = group.layer.replace(" ", "")
    if not layer:
        return [found.method.label, short]
    word = "layers" if {",", ";"} & set(layer) else "layer"
    return [
        f"{found.method.label} at {word} {layer}",
        f"{short} at {word} {layer}",
        f"{short}, {word} {layer}",
        short,
    ]


def _level(group: Group) -> str:
    metric = group.metric
    return f"{fixed(group.mean(), metric.digits)}{metric.suffix} {metric.short}"


def _collapse(group: Group, whose: str = "") -> str:
    """Return '; 2 of 6 runs collapsed'; empty if none did."""
    if not group.num_collapsed:
        return ""
    return f"; {group.num_collapsed} of {whose}{counted(len(group.results), 'run')} collapsed"


def _gain(finding: Finding) -> str:
    assert finding.difference is not None
    return signed(finding.difference.mean, finding.metric.digits)


def _verdict(lead: MethodFinding, findings: Findings, baseline: Group) -> str:
    finding = lead.chosen
    if finding.difference is None:
        return " shares no seed with the baseline: nothing to compare"
    gain = f": {_gain(finding)} {finding.metric.difference_unit}"
    collapse = _collapse(finding.group) or _collapse(baseline, "the baseline's ")
    if collapse:
        shown = "" if finding.verdict in ("better", "worse") else " (not shown)"
        return f"{gain}{shown}{collapse}"
    pairs = counted(finding.difference.num_pairs, "pair")
    verdicts = {
        "one pair": " in one pair, which shows nothing",
        "not shown": "; these runs do not show a difference"
        if finding.can_show
        else f"; {pairs} cannot show a difference",
        "worse": "; it hurts here",
        "better": "; it helps here",
    }
    if finding.verdict == "better" and lead.method.needs_control:
        return f"{gain}; {_source(lead, findings)}"
    return f"{gain}{verdicts[finding.verdict]}"


def _source(lead: MethodFinding, findings: Findings) -> str:
    """Say whether a gain comes from what the frozen network knows."""
    controls = [each for each in findings.controls if each.method is lead.method and each.is_random]
    if not controls:
        return "no control says whether the frozen network matters"
    at_layer = [each for each in controls if each.own is lead.chosen]
    for control in at_layer:
        if control.between.verdict == "worse":
            return f"a random network gives more ({_gain(control.control)})"
        if control.gains_as_much:
            return f"a random network gives as much ({_gain(control.control)})"
    if at_layer and all(each.between.verdict == "better" for each in at_layer):
        return f"{_apart(at_layer[0])} better than with a random network"
    return "not shown to come from the frozen network's knowledge"


def _apart(control: ControlFinding) -> str:
    difference = control.between.difference
    assert difference is not None
    return fixed(abs(difference.mean), control.between.metric.digits)
