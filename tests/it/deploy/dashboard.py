"""Grafana's dashboard and the alert rules: each query is PromQL, and names a metric that exists and labels that it has."""

import json
import pathlib
import re
import subprocess
import sys

import promql_parser

from common import DEPLOY, ROOT, load, ok

# What Prometheus adds to every sample.
TARGET = {"job", "instance"}


def selectors(node, grouped=frozenset()):
    """Each selector, with the labels that what is made of it is grouped by."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node, grouped
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
        grouped = grouped | set(node.modifier.labels)
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        child = getattr(node, name, None)
        for it in child if isinstance(child, (list, tuple)) else [child]:
            if it is not None:
                yield from selectors(it, grouped)


def documented():
    """What exists, and its labels: what docs/metrics.md lists, which another test compares with a scrape."""
    rows = re.findall(r"(?m)^\| `(\w+)` \| \w+ \| *([^|]*?) *\|", (ROOT / "docs/metrics.md").read_text())
    assert len(rows) > 30, rows
    return {name: set(re.findall(r"`(\w+)`", of)) for name, of in rows} | {"up": set()}


def concrete(expression):
    """A query with a value in the place of each of the dashboard's variables."""
    text = expression.replace("$__rate_interval", "1m").replace("$job", "j").replace("$instance", "i")
    assert "$" not in text, text
    return text


def groupings_that_exist(title, expression, labels):
    """Of each selector of a query, the labels that its metric has and by which it is grouped."""
    found = list(selectors(promql_parser.parse(concrete(expression))))
    assert found, f"{title}: {expression}"
    for selector, grouped in found:
        metric = selector.name if selector.name in labels else re.sub(r"_(bucket|sum|count)$", "", selector.name)
        assert metric in labels, f"{title}: there is no metric {selector.name}"
        used = {matcher.name for matcher in selector.matchers.matchers} | grouped
        unknown = used - labels[metric] - TARGET - ({"le"} if metric != selector.name else set())
        assert not unknown, f"{title}: {metric} has no label {unknown}"
        yield grouped


def variables_have_values(dashboard, labels):
    """Grafana asks for the values that a label of a metric has."""
    queries = {it["name"]: it["query"]["query"] for it in dashboard["templating"]["list"] if it["type"] == "query"}
    assert queries.keys() == {"job", "instance"}, queries
    for name, query in queries.items():
        asked = re.fullmatch(r"label_values\((\w+(?:\{.*\})?), (\w+)\)", query)
        assert asked, f"${name}: {query}"
        list(groupings_that_exist(f"${name}", asked[1], labels))
        metric = re.match(r"\w+", asked[1])[0]
        assert asked[2] in labels[metric] | TARGET, f"${name}: {metric} has no label {asked[2]}"
    ok("variables take their values from labels that exist")


def main():
    labels = documented()
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    targets = [(panel["title"], target) for panel in panels for target in panel["targets"]]
    for title, target in targets:
        named = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")))
        for grouped in groupings_that_exist(title, target["expr"], labels):
            assert named <= grouped, f"{title}: the legend names {named - grouped}, and the query keeps {set(grouped)}"
    groups = load(DEPLOY / "prometheus/alerts.yaml")["groups"]
    alerts = [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]
    for title, expression in alerts:
        list(groupings_that_exist(title, expression, labels))
    ok(f"{len(targets)} queries and {len(alerts)} alerts name metrics that exist, and legends what is left of labels")
    variables_have_values(dashboard, labels)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    boxes = [panel["gridPos"] for panel in dashboard["panels"]]
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert apart or one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"], (one, other)
    ok("no panel covers another")
    tests = pathlib.Path(__file__).parent / "alerts.yaml"
    done = subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ok("alerts fire when they should, and not otherwise")


sys.exit(main())
