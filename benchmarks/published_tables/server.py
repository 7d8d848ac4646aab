"""The server under load and attack, and the numbers of damaged files and interrupted runs."""

from __future__ import annotations

from benchmarks.published_tables.formats import markdown_table, percent, read_result


def load() -> str:
    """Throughput and latency of the server under load, relative to a baseline without a server.

    From results/load.json; in docs/serve.md.
    """
    result = read_result("load")
    baseline = result["baseline_per_second"]
    overload, after_overload = (
        result["overload"][phase] for phase in ("under_overload", "after_overload")
    )
    target = overload["target_requests_per_second"]
    measurements = {f"connections: {row['connections']}": row for row in result["rows"]}
    measurements[f"overload: {target:.0f} requests per second"] = overload
    measurements[f"connections after the overload: {after_overload['connections']}"] = (
        after_overload
    )
    rows = []
    for title, row in measurements.items():
        rejected = row["statuses"].get("503", 0) / sum(row["statuses"].values())
        rows.append((
            title, f"{row['responses_per_second']:.0f}",
            percent(row["responses_per_second"] / baseline), f"{row['p50_ms']:.0f}",
            f"{row['p99_ms']:.0f}", percent(rejected) if rejected else "",
        ))  # fmt: skip
    header = ("", "responses per second", "relative to the baseline", "p50, ms", "p99, ms",
              "rejected with 503")  # fmt: skip
    return f"{markdown_table(header, rows)}\n\n{_load_note(result)}"


def _load_note(result: dict) -> str:
    memory, overload = result["memory"], result["overload"]["under_overload"]
    statuses = overload["statuses"]
    failed = sum(count for status, count in statuses.items() if status not in ("200", "503"))
    wrong = sum(row["wrong_responses"] for row in (memory, overload, *result["rows"]))
    return (
        f"{result['environment']['machine']}; the baseline reaches "
        f"{result['baseline_per_second']:.0f} images per second. Memory: "
        f"{memory['before_mb']:.0f} MB before and {memory['after_mb']:.0f} MB after "
        f"{memory['requests']:,} requests, at most {overload['peak_mb']:.0f} MB under overload. "
        f"Under overload, {failed} of {sum(statuses.values()):,} requests failed with a closed "
        f"connection. Wrong responses: {wrong}."
    )


def floods() -> str:
    """Latency of `/healthz` while eight clients flood the server, and its memory afterwards.

    From results/floods.json; in docs/robustness.md.
    """
    keys = ("healthz_p50_ms", "healthz_p99_ms", "memory_mb")
    rows = [
        (row["flood"], *(f"{row[key]:.0f}" for key in keys))
        for row in read_result("floods")["rows"]
    ]
    header = ("flood", "`/healthz` p50, ms", "p99, ms", "memory afterwards, MB")
    return markdown_table(header, rows)


def server_memory() -> str:
    """Peak memory of the server while several clients send large requests.

    From results/server-memory.json; in docs/robustness.md.
    """
    keys = ("peak_mb", "after_rest_mb", "healthz_p99_ms")
    rows = [
        (f"{row['requests']}, {row['cores']} cores", *(f"{row[key]:.0f}" for key in keys))
        for row in read_result("server-memory")["rows"]
    ]
    header = ("requests", "peak memory, MB", "afterwards, MB", "`/healthz` p99, ms")
    return markdown_table(header, rows)


def attacks() -> str:
    """Numbers of damaged files and interrupted runs, and of failures.

    From results/mutated-media.json, model-files.json and signals.json; in docs/robustness.md.
    """
    rows = []
    for kind in ("video", "image"):
        counts = read_result("mutated-media")["counts"][kind]
        failures = counts["traceback"] + counts["hang"] + counts["crash"]
        rows.append((f"mutated {kind}s", f"{counts['files']:,}", failures))
    count_of_files, failures = 0, 0
    for row in read_result("model-files")["rows"]:
        count_of_files += row["count"]
        for outcome, count in row["outcomes"].items():
            if outcome not in ("result", "error message"):  # `SUCCESSES` of attack/model_files.py
                failures += count
    title = "mutated model files, TOML files and run folders"
    rows.append((title, f"{count_of_files:,}", failures))
    signals = read_result("signals")
    rows.append((
        "analyses ended at a random time (Ctrl-C, SIGTERM, SIGHUP, `kill -9`) and resumed",
        f"{signals['signals']:,}", sum(signals["problems"].values()),
    ))  # fmt: skip
    return markdown_table(("attack", "cases", "tracebacks, hangs, crashes, wrong records"), rows)
