"""Grafana's dashboard: each query is PromQL, and names a metric that exists and labels that it has."""

import json
import os
import pathlib
import re
import sys

import promql_parser

from common import DEPLOY, ok

# Of every target, whatever it exports.
SCRAPED = {"up"}
TARGET = {"job", "instance"}


def selectors(node, found):
    if isinstance(node, promql_parser.VectorSelector):
        found.append(node)
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "args"):
        child = getattr(node, name, None)
        for it in child if isinstance(child, (list, tuple)) else [child]:
            if it is not None and not isinstance(it, (str, int, float)):
                selectors(it, found)
    return found


def exported(name, known):
    """A histogram is exported under three names."""
    return name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known


def main():
    """What exists is what a scrape of the running service shows: its lines `# TYPE NAME KIND`."""
    scrape = pathlib.Path(os.environ["SCRAPE"]).read_text()
    known = set(re.findall(r"(?m)^# TYPE (\S+) ", scrape)) | SCRAPED
    labels = {}
    for name, pairs in re.findall(r"(?m)^(\w+)\{(.*)\} ", scrape):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', pairs))
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    queries = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    for title, expression in queries:
        concrete = expression.replace("$__rate_interval", "1m").replace("$job", "j").replace("$instance", "i")
        assert "$" not in concrete, concrete
        found = selectors(promql_parser.parse(concrete), [])
        assert found, f"{title}: {expression}"
        for selector in found:
            assert exported(selector.name, known), f"{title}: there is no metric {selector.name}"
            used = {matcher.name for matcher in selector.matchers.matchers} - TARGET
            has = labels.get(selector.name, set())
            assert used <= has or selector.name in SCRAPED or not has, f"{title}: {selector.name} has no {used - has}"
    ok(f"{len(queries)} queries name metrics that exist")
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    boxes = [panel["gridPos"] for panel in dashboard["panels"]]
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert apart or one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"], (one, other)
    ok("no panel covers another")


sys.exit(main())
