"""Findings in plain words: one sentence each, and no claim beyond interval and p-value."""

from collections.abc import Sequence

from plotting.comparisons import Method
from plotting.findings import ControlFinding, Finding, Findings, MethodFinding, excludes_zero
from plotting.paired_statistics import pairs_needed
from plotting.runs import Metric
from plotting.tables import fixed, p_text, signed

LEGEND = (
    "±: standard deviation over repetitions (other seeds, same split). difference: test result "
    "minus the baseline's of the same seeds, with its 95 % interval (bootstrap) and the p-value of "
    "a sign-flip permutation test, Holm-corrected over the layers. Where a method was run at "
    "several layers, the one that is best on validation is shown. A difference is claimed only if "
    "its interval excludes zero and p < 0.05."
)


def conclusions(findings: Findings) -> list[str]:
    """One sentence for each method, one for each control, and what else must be known."""
    return [each for group in grouped_conclusions(findings).values() for each in group]


def grouped_conclusions(findings: Findings) -> dict[str, list[str]]:
    """The conclusions by the question that they answer."""
    methods = [method_sentence(each, findings) for each in findings.methods]
    baseline = findings.comparison.baseline
    if baseline is not None and baseline.num_collapsed:
        collapse = _collapse(baseline.num_collapsed, len(baseline.runs), "the baseline")
        methods.append(capital(collapse))
    controls = [control_sentence(each) for each in findings.controls]
    return {
        "Did it help?": methods,
        "Does it come from the orthogonal task?": controls + missing_controls(findings),
    }


def digits_of(metric: Metric) -> int:
    """Decimals that a difference is given with."""
    return 1 if metric.difference_unit == "points" else 3


def name_of(finding: Finding, label: str, several: bool = False) -> str:
    """'anti-transfer against X, layer 3 chosen on validation (experiment 29)'"""
    group = finding.group
    layer = ""
    if group.layer:
        layer = f", layer {group.layer}{' chosen on validation' if several else ''}"
    identifiers = ", ".join(map(str, group.experiments))
    word = "experiment" if len(group.experiments) == 1 else "experiments"
    return f"{label}{layer} ({word} {identifiers})"


def method_sentence(found: MethodFinding, findings: Findings) -> str:
    """A method against the baseline."""
    finding = found.chosen
    name = name_of(finding, found.method.label, len(found.method.groups) > 1)
    text = _method_text(name, found, findings)
    if found.method.incomplete:
        text = f"{text} {incomplete_text(found.method)}"
    if finding.group.num_collapsed:
        collapse = _collapse(finding.group.num_collapsed, len(finding.group.runs), "it")
        text = f"{text} {collapse[0].upper()}{collapse[1:]}"
    return capital(text)


def incomplete_text(method: Method) -> str:
    """Which layers the choice of the layer leaves out, as a sentence."""
    return f"Not among the layers to choose from: {'; '.join(method.incomplete)}."


def _method_text(name: str, found: MethodFinding, findings: Findings) -> str:
    finding = found.chosen
    if findings.comparison.baseline is None:
        return f"{name}: no baseline trained alike is among these results; nothing to compare."
    difference = finding.difference
    if difference is None or difference.mean is None:
        return f"{name}: no repetition shares its seed with the baseline; nothing to compare."
    text = f"{name} minus baseline, same seeds: {difference_text(finding)}"
    if finding.verdict == "one pair":
        return f"{text}; {_one_pair(found, findings)}"
    verdicts = {
        "better": "it helped here.",
        "worse": "it hurt here.",
        "not shown": f"these runs do not show a difference{could_show(finding)}.",
    }
    return f"{text}: {verdicts[finding.verdict]}{_contradiction(finding)}"


def difference_text(finding: Finding) -> str:
    """'+5.0 points, 95 % interval +2.5 to +7.5, p = 0.25 (3 pairs)'"""
    difference, metric = finding.difference, finding.metric
    if difference is None or difference.mean is None:
        return "no pairs"
    digits = digits_of(metric)
    text = f"{signed(difference.mean, digits)} {metric.difference_unit}"
    if difference.num_pairs == 1:
        return f"{text} in one pair"
    if difference.interval is not None:
        low, high = (signed(limit, digits) for limit in difference.interval)
        text += f", 95 % interval {low} to {high}"
    if finding.p_corrected is not None:
        text += f", p {_p_equals(finding.p_corrected)}"
    return f"{text} ({difference.num_pairs} pairs)"


def _p_equals(p_value: float) -> str:
    text = p_text(p_value)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def _one_pair(found: MethodFinding, findings: Findings) -> str:
    """What one run for each layer cannot say."""
    cannot = "one pair cannot tell a gain from training noise"
    baseline, metric = findings.comparison.baseline, findings.metric
    deviation = baseline.deviation() if baseline is not None else None
    if deviation is not None and baseline is not None:
        cannot += (
            f", which alone gives the baseline a standard deviation of "
            f"{fixed(deviation, digits_of(metric))} {metric.difference_unit} over its "
            f"{len(baseline.runs)} repetitions"
        )
    if len(found.method.groups) > 1 and found.method.single_runs:
        cannot += (
            f"; with one run for each of {len(found.method.groups)} layers neither a gain at any "
            "of them nor a difference between them can be concluded: the best of many would "
            "lie above the baseline even if anti-transfer did nothing"
        )
    return f"{cannot}."


def could_show(finding: Finding, tests: str = "layers") -> str:
    """' (6 pairs with this spread could have shown one of about 2.0 points or more)'

    Args:
        tests: what the p-values were corrected over.
    """
    if not finding.can_show:
        return f" ({_cannot_show(finding, tests)})"
    if finding.smallest_effect is None:
        return ""
    effect = fixed(finding.smallest_effect, digits_of(finding.metric))
    return (
        f" ({_pairs(finding, tests)} with this spread could have shown one of about "
        f"{effect} {finding.metric.difference_unit} or more)"
    )


def _pairs(finding: Finding, tests: str) -> str:
    """'6 pairs', '6 pairs, corrected over 13 layers,'"""
    number = finding.difference.num_pairs if finding.difference else 0
    over = f", corrected over {finding.num_tests} {tests}," if finding.num_tests > 1 else ""
    return f"{number} {'pair' if number == 1 else 'pairs'}{over}"


def _cannot_show(finding: Finding, tests: str) -> str:
    needed = pairs_needed(finding.num_tests)
    remedy = (
        "fewer must be compared" if needed is None else f"at least {needed} repetitions are needed"
    )
    return f"{_pairs(finding, tests)} cannot show any difference: {remedy}"


def _contradiction(finding: Finding) -> str:
    """Why an interval without zero is no claim: so few pairs cannot give a small p-value."""
    difference = finding.difference
    if finding.verdict != "not shown" or difference is None or not excludes_zero(difference):
        return ""
    if not finding.can_show:
        return (
            " The interval excludes zero, but the p-value of so few pairs is never below "
            f"{p_text(finding.least_p)}: no claim is made."
        )
    return " The interval excludes zero, the corrected p-value is above 0.05: no claim is made."


def _collapse(number: int, of: int, what: str) -> str:
    runs = "its only run" if of == 1 else f"{number} of its {of} runs"
    whose = runs if what == "it" else runs.replace("its", f"{what}'s")
    return (
        f"collapsed: {whose} named one class only or did no better than chance on the "
        "validation set, so these figures are not those of a trained network."
    )


def control_sentence(control: ControlFinding) -> str:
    """A method beside another frozen network at the same layer."""
    layer = f", layer {control.own.group.layer}"
    name = f"{control.method.label}{layer}"
    other = "a random untrained network" if control.is_random else f"the network {control.other}"
    head = "Control" if control.is_random else "Another network"
    figures = (
        f"gain {_gain(control.own)} against {control.own.group.against}, "
        f"{_gain(control.control)} against {other}; the first minus the second "
        f"{difference_text(control.between)}"
    )
    return f"{head} for {name}: {figures}. {capital(_control_verdict(control, other))}"


def _gain(finding: Finding) -> str:
    if finding.difference is None or finding.difference.mean is None:
        return "unknown"
    unit = finding.metric.difference_unit
    return f"{signed(finding.difference.mean, digits_of(finding.metric))} {unit}"


def _control_verdict(control: ControlFinding, other: str) -> str:
    between = control.between
    if between.verdict in ("no pair", "one pair"):
        return f"too few pairs with {other} to tell the two apart."
    if between.verdict == "better":
        gain = "" if control.own.verdict == "better" else "; a gain over the baseline is not shown"
        return f"more than {other} gives: it matters which network was frozen{gain}."
    if between.verdict == "not shown" and not control.gains_as_much:
        return f"the two cannot be told apart{_least_apart(between)}."
    amount = "more" if between.verdict == "worse" else f"as much{_least_apart(between)}"
    return f"{other} gives {amount}{_source(control)}."


def _source(control: ControlFinding) -> str:
    """What a random network that gives as much, or more, says of the gain, if there is one."""
    if not control.is_random:
        return ""
    if control.control.verdict == "better":
        return ": the gain does not come from the orthogonal task"
    if control.own.verdict == "better":
        return ": there is no evidence that the gain comes from the orthogonal task"
    return ""


def _least_apart(between: Finding) -> str:
    if not between.can_show:
        return f" ({_cannot_show(between, 'layers')})"
    if between.smallest_effect is None or between.difference is None:
        return ""
    effect = fixed(between.smallest_effect, digits_of(between.metric))
    return (
        f", as far as {between.difference.num_pairs} pairs can tell (they could have shown a "
        f"difference of about {effect} {between.metric.difference_unit})"
    )


def missing_controls(findings: Findings) -> list[str]:
    """One sentence if a gain has no random control."""
    have = {id(each.method) for each in findings.controls if each.is_random}
    lacking = [
        each.method
        for each in findings.methods
        if each.method.against and not each.method.is_random_control and id(each.method) not in have
    ]
    if not lacking:
        return []
    several = any(len(method.groups[0].networks) > 1 for method in lacking)
    how = ", as often as there are frozen networks" if several else ""
    return [
        f"No control against a random untrained network (at_dataset = random{how}) is among these "
        f"results for: {'; '.join(method.label for method in lacking)}. Without it, a gain "
        "cannot be put down to the orthogonal task."
    ]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def joined(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'"""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
