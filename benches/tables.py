"""Prints the reports in a directory as the tables of docs/performance.md."""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path


def main(out):
    reports = {path.stem: json.loads(path.read_text()) for path in sorted(out.glob("*.json"))}
    print(machine())
    beside(reports)
    faults(reports)
    singles(reports)
    growth(reports)
    growing(reports, "tokens")
    growing(reports, "connections")
    threads(reports)
    h2load = out / "h2load.txt"
    if h2load.exists():
        print(f"Another generator on one cached token: {h2load.read_text().strip()}.\n")


def machine():
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    versions = [
        version("redis-server", "--version", r"v=([\d.]+)", "Redis"),
        version("psql", "--version", r"([\d.]+)", "PostgreSQL"),
        version("rustc", "--version", r"rustc ([\d.]+)", "rustc"),
    ]
    processors = cpuinfo.count("processor\t")
    return (
        f"{model.group(1) if model else platform.processor()}, {processors} processors; "
        f"Linux {platform.release()}; {', '.join(filter(None, versions))}\n"
    )


def version(program, flag, pattern, name):
    try:
        text = subprocess.run([program, flag], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(pattern, text)
    return f"{name} {found.group(1)}" if found else None


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def head(*cells):
    row(*cells)
    row(*["---" if at == 0 else "---:" for at in range(len(cells))])


def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


HEAD = ["what", "server", "checks/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us", "Redis's CPU us", "SQL / 10,000",
        "Redis / 10,000", "failed", "wrong"]


def beside(reports):
    print("### Beside bare servers\n")
    head(*HEAD)
    for name in ["hit", "hit-4x4", "near-hit", "near-hit-memory", "batch", "miss", "miss-without-cache"]:
        report = reports.get(name)
        if not report:
            continue
        for run in report["runs"]:
            figures(name, run)
        if report["ratio"]:
            ratio = report["ratio"]
            row(name, "**ratio**", f"**{ratio['checks_per_second']:.3f}**", number(ratio["p50"], 3),
                number(ratio["p99"], 3), "", number(ratio["cpu_us_per_check"], 3), "", "", "", "", "")
    print()


def figures(name, run):
    latency = run["latency_ms"]
    row(name, run["server"], number(run["checks_per_second"]), number(latency["p50"], 3), number(latency["p99"], 3),
        number(latency["p99_9"], 3), number(run["cpu_us_per_check"], 2), number(run["redis_cpu_us_per_check"], 2),
        number(run["sql_per_10k_checks"], 1), number(run["redis_per_10k_checks"], 1), number(run["failed"]),
        number(run["wrong"]))


def faults(reports):
    print("### Faults at full load\n")
    head("fault", "before /s", "during /s", "after /s", "to degraded ms", "to recovered ms", "longest call ms",
         "longest gap ms", "failed", "wrong")
    for name in ["redis-kill", "redis-hang", "db-kill"]:
        report = reports.get(name)
        if not report:
            continue
        run = report["runs"][0]
        fault = run["fault"]
        row(name, number(fault["before_per_second"]), number(fault["during_per_second"]),
            number(fault["after_per_second"]), number(fault["to_degraded_ms"]), number(fault["to_recovered_ms"]),
            number(run["longest_call_ms"], 1), number(run["longest_gap_ms"], 1), number(run["failed"]),
            number(run["wrong"]))
    print()


def singles(reports):
    print("### Other loads\n")
    head(*HEAD)
    for name in ["mixed", "unknown-flood", "unknown-flood-4x4", "revoke-storm", "hot-token", "cold-start"]:
        if name in reports:
            figures(name, reports[name]["runs"][0])
    print()
    minute = reports.get("hit-minute")
    if minute:
        run = minute["runs"][0]
        print(f"SQL under hits for {minute['duration_s']} s: {number(run['sql_per_second'], 1)} statements a second in all.\n")
    cold = reports.get("cold-start")
    if cold:
        run = cold["runs"][0]
        print(f"Start with a warm database: {number(run['startup_ms'])} ms from exec to listening; with an empty Redis, "
              f"{number(run['ramp_ms'])} ms more until it is as fast as at the end.\n")


def growth(reports):
    report = reports.get("growth")
    if not report:
        return
    run = report["runs"][0]
    print("### Growth\n")
    head("rows", "tokens asked about", "checks/s", "p99 ms", "CPU us", "memory MiB", "failed", "wrong")
    for step in run["steps"]:
        row(number(step["rows"]), number(step["passed"]), number(step["checks_per_second"]), number(step["p99_ms"], 3),
            number(step["cpu_us_per_check"], 2), number(step["resident_mib"], 1), number(step["failed"]),
            number(step["wrong"]))
    print()


def growing(reports, what):
    """Reports of which the name ends with the size that grows."""
    sizes = sorted(int(name.removeprefix(f"{what}-")) for name in reports if re.fullmatch(rf"{what}-\d+", name))
    if not sizes:
        return
    head(what, "server", "checks/s", "p50 ms", "p99 ms", "CPU us", "memory MiB", "failed", "wrong")
    for size in sizes:
        for run in reports[f"{what}-{size}"]["runs"]:
            latency = run["latency_ms"]
            row(number(size), run["server"], number(run["checks_per_second"]), number(latency["p50"], 3),
                number(latency["p99"], 3), number(run["cpu_us_per_check"], 2), number(run["resident_mib"], 1),
                number(run["failed"]), number(run["wrong"]))
    print()


def threads(reports):
    if not any(name.startswith("threads-") for name in reports):
        return
    print("### Threads\n")
    head("server.threads", "processors", "hit: checks/s", "p99 ms", "CPU us", "batch: checks/s", "p99 ms", "CPU us",
         "failed", "wrong")
    for where, name in [("one", "one for the service"), ("all", "all for everyone")]:
        for count in [1, 2, 4]:
            found = [reports.get(f"threads-{where}-{scenario}-{count}") for scenario in ["hit", "batch"]]
            runs = [report["runs"][0] for report in found if report]
            cells = [cell for report in found for cell in speed(report)]
            if runs:
                row(str(count), name, *cells, *(number(sum(run[what] for run in runs)) for what in ["failed", "wrong"]))
    print()


def speed(report):
    if not report:
        return ["-"] * 3
    run = report["runs"][0]
    return [number(run["checks_per_second"]), number(run["latency_ms"]["p99"], 3), number(run["cpu_us_per_check"], 2)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
