"""Findings in plain words: one sentence each, and no claim beyond interval and p-value."""

import re
from collections.abc import Iterator
from statistics import fmean

from config.text import counted, shorten
from plotting.reporting.compare import Method
from plotting.reporting.findings import ControlFinding, Finding, Findings, MethodFinding, name_at
from plotting.reporting.groups import Group
from plotting.reporting.statistics import pairs_needed
from plotting.reporting.table import fixed, p_text, signed
from training.results.shortcut import by_source, mean_strength

SPREAD_LEGEND = "±: standard deviation over repetitions (other seeds, same split)."
DIFFERENCE_LEGEND = (
    "difference: test result minus the baseline's of the same seeds, with its 95 % interval "
    "(bootstrap) and the p-value of a sign-flip permutation test, Holm-corrected over all "
    "differences of its table. Where a method was run at several layers, the one that is best on "
    "validation is shown. A difference is claimed only if its interval excludes zero and p < 0.05."
)

# How many times as hard as the task a penalty may pull before that is said.
MOST_PULL = 10


def conclusions(findings: Findings) -> dict[str, list[str]]:
    """Return a sentence for each method and control, by the question that they answer."""
    methods = [method_sentence(each, findings) for each in findings.methods]
    baseline = findings.comparison.baseline
    if baseline is not None and baseline.num_collapsed:
        methods.append(_collapse(baseline, "the baseline's"))
    controls = [control_sentence(each) for each in findings.controls]
    otherwise = findings.comparison.tuned_otherwise
    if otherwise:
        methods.append(f"Tuned otherwise, so not compared with these: {'; '.join(otherwise)}.")
    return {
        "Did it help?": methods,
        "Does it come from the orthogonal task?": controls + missing_controls(findings),
        "How strong is the shortcut?": shortcut_sentences(findings),
        "Is the penalty too strong?": list(pull_sentences(findings)),
    }


def shortcut_sentences(findings: Findings) -> list[str]:
    """Return what each thing that is known predicts, mean over all runs, and what that means."""
    folds = [fold for result in findings.comparison.results for fold in result.folds]
    found = by_source(fold.shortcut for fold in folds)
    return [capital(f"{mean_strength(strengths)}.") for strengths in found.values()]


def pull_sentences(findings: Findings) -> Iterator[str]:
    """Yield one for each method whose penalty pulls much harder than the task at some layer."""
    for found in findings.methods:
        pulls = _pulls(found.method)
        strong = [
            f"at {place} ({penalty:.3g} against {task:.2g})"
            for place, (penalty, task) in pulls.items()
            if penalty > MOST_PULL * task
        ]
        if strong:
            yield (
                f"{capital(found.method.label)}: the penalty pulls more than {MOST_PULL} times as "
                f"hard as the task {', '.join(strong)}: a smaller at_beta leaves the task more."
            )


def _pulls(method: Method) -> dict[str, tuple[float, float]]:
    """Return by layer the mean gradient norms of penalty and task, over all runs and folds."""
    found: dict[str, list[tuple[float, float]]] = {}
    results = [result for group in method.groups for result in group.results]
    for norms in (fold.gradient_norms for result in results for fold in result.folds):
        terms = [key.removeprefix("penalty_") for key in norms if key.startswith("penalty_")]
        for term in terms:
            pull = norms[f"penalty_{term}"], norms[f"task_{term}"]
            found.setdefault(_place_of(term, len(terms) > 1), []).append(pull)
    return {
        place: (fmean(penalty for penalty, _ in pulls), fmean(task for _, task in pulls))
        for place, pulls in found.items()
    }


def _place_of(term: str, several: bool) -> str:
    """Return 'layer 3' of a term named noisyspeech_layer3; of several with the network's name."""
    match = re.fullmatch(r"(.+)_layer(\d+)", term)
    if not match:
        return shorten(term)
    return f"layer {match[2]} against {shorten(match[1])}" if several else f"layer {match[2]}"


def method_sentence(found: MethodFinding, findings: Findings) -> str:
    """Return a method's difference to the baseline, and what may be concluded."""
    finding = found.chosen
    text = f"{_name_of(found)}{_method_text(found, findings)}"
    if found.method.incomplete:
        text = f"{text} {incomplete_text(found.method)}"
    if finding.group.num_collapsed:
        text = f"{text} {_collapse(finding.group, 'its')}"
    return capital(text)


def _name_of(found: MethodFinding) -> str:
    """Return 'anti-transfer against X, layer 3 chosen on validation (experiment 29)'."""
    group = found.chosen.group
    how = " chosen on validation" if len(found.method.groups) > 1 else ""
    word = "experiment" if len(group.experiments) == 1 else "experiments"
    return f"{found.name}{how} ({word} {group.experiments_text})"


def incomplete_text(method: Method) -> str:
    """Say which layers the choice of the layer leaves out."""
    layers = " / ".join(method.incomplete)
    return f"Not among the layers to choose from, run less often than others: {layers}."


def _method_text(found: MethodFinding, findings: Findings) -> str:
    finding = found.chosen
    if findings.comparison.baseline is None:
        return ": no baseline trained alike is among these results; nothing to compare."
    if finding.difference is None:
        return ": no repetition shares its seed with the baseline; nothing to compare."
    text = f" minus baseline, same seeds: {difference_text(finding)}"
    if finding.verdict == "one pair":
        return f"{text}; {_one_pair(found, findings)}"
    verdicts = {
        "better": "it helped here.",
        "worse": "it hurt here.",
        "not shown": f"these runs do not show a difference{cannot_show(finding)}.",
    }
    return f"{text}: {verdicts[finding.verdict]}"


def difference_text(finding: Finding) -> str:
    """Return '+5.0 points, 95 % interval +2.5 to +7.5, p = 0.25 (3 pairs)'."""
    difference, metric = finding.difference, finding.metric
    if difference is None:
        return "no pairs"
    text = f"{signed(difference.mean, metric.digits)} {metric.difference_unit}"
    if difference.num_pairs == 1:
        return f"{text} in one pair"
    if difference.interval is not None:
        low, high = (signed(limit, metric.digits) for limit in difference.interval)
        text += f", 95 % interval {low} to {high}"
    if finding.p_corrected is not None:
        p_value = p_text(finding.p_corrected)
        text += f", p {p_value.replace('<', '< ') if '<' in p_value else f'= {p_value}'}"
    return f"{text} ({counted(difference.num_pairs, 'pair')})"


def _one_pair(found: MethodFinding, findings: Findings) -> str:
    """Say what one run, or one for each layer, cannot show."""
    text = "one pair cannot tell a gain from training noise"
    baseline, metric = findings.comparison.baseline, findings.metric
    if baseline is not None and (deviation := baseline.deviation()) is not None:
        spread = f"{fixed(deviation, metric.digits)} {metric.difference_unit}"
        text += f" (standard deviation of the baseline's runs: {spread})"
    if len(found.layers) > 1:
        text += f", and of {len(found.layers)} layers the best lies above the baseline by luck"
    return f"{text}."


def cannot_show(finding: Finding) -> str:
    """Return ' (3 pairs cannot show any difference: ...)'; empty where they could."""
    if finding.can_show:
        return ""
    number = finding.difference.num_pairs if finding.difference else 0
    pairs = counted(number, "pair")
    if finding.num_tests > 1:
        pairs += f", corrected over {finding.num_tests} differences,"
    needed = pairs_needed(finding.num_tests)
    remedy = (
        "fewer must be compared" if needed is None else f"at least {needed} repetitions are needed"
    )
    return f" ({pairs} cannot show any difference: {remedy})"


def _collapse(group: Group, whose: str) -> str:
    of = counted(len(group.results), "run")
    return (
        f"Collapsed: {group.num_collapsed} of {whose} {of} {group.metric.collapse}, so these "
        "figures are not those of a trained network."
    )


def control_sentence(control: ControlFinding) -> str:
    """Return what a method gains beside another frozen network at the same layer."""
    name = name_at(control.method, control.own.group)
    others = control.control.group
    head, other = "Another network", f"the network {others.against}"
    if others.is_control:
        head, other = "Control", "a random untrained network"
    elif others.true_labels:
        head, other = "True labels", f"the true {others.true_labels}"
    gains = (
        f"{control.own.metric.change} {_gain(control.own)} against {control.own.group.against}, "
        f"{_gain(control.control)} against {other}; the first minus the second "
        f"{difference_text(control.between)}"
    )
    return f"{head} for {name}: {gains}. {capital(_control_verdict(control, other))}"


def _gain(finding: Finding) -> str:
    if finding.difference is None:
        return "unknown"
    metric = finding.metric
    return f"{signed(finding.difference.mean, metric.digits)} {metric.difference_unit}"


def _control_verdict(control: ControlFinding, other: str) -> str:
    between = control.between
    if between.verdict in ("no pair", "one pair"):
        return f"too few pairs with {other} to tell the two apart."
    if between.verdict == "better":
        gain = "" if control.own.verdict == "better" else "; a gain over the baseline is not shown"
        return f"more than {other} gives: it matters which network was frozen{gain}."
    if between.verdict == "worse":
        return f"{other} gives more{_source(control)}."
    if control.gains_as_much:
        return f"{other} gives as much{_as_far(between)}{_source(control)}."
    return f"the two cannot be told apart{_as_far(between)}."


def _source(control: ControlFinding) -> str:
    """Say what a random network that gives as much, or more, tells of the gain, if there is one."""
    if not control.is_random:
        return ""
    if control.control.verdict == "better":
        return ": the gain does not come from the orthogonal task"
    if control.own.verdict == "better":
        return ": there is no evidence that the gain comes from the orthogonal task"
    return ""


def _as_far(between: Finding) -> str:
    if between.can_show and between.difference is not None:
        return f", as far as {counted(between.difference.num_pairs, 'pair')} can tell"
    return cannot_show(between)


def missing_controls(findings: Findings) -> list[str]:
    """Return one sentence if a gain has no random control."""
    have = {id(each.method) for each in findings.controls if each.is_random}
    methods = [each.method for each in findings.methods if each.method.needs_control]
    lacking = [method for method in methods if id(method) not in have]
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
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]
