"""Print a table of what gpu.sh has measured: `gpu_report.py PATH`, a file of `benchmark` or a folder of runs."""

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

# Training images/s that an H200 should reach, by reckoning: model, whether compiled, from, to.
EXPECTED = {
    ("resnet18", False): (60_000, 80_000),
    ("resnet18", True): (84_000, 84_000),
    ("vgg16", False): (145_000, 145_000),
    ("article", False): (290_000, 290_000),
    ("speednet", False): (300_000, 300_000),
}
FIGURES = (
    ("test_accuracy", "test accuracy, %", 100, 2),
    ("test_accuracy_tta", "with test-time augmentation, %", 100, 2),
    ("train_seconds", "training s", 1, 2),
    ("first_step_seconds", "first step s", 1, 2),
    ("total_seconds", "whole run s", 1, 2),
    ("images_per_second", "images/s", 1, 0),
)


def benchmark_table(record: dict[str, Any]) -> str:
    """Return a table of the combinations of a benchmark, beside what was expected."""
    lines = ["| model | batch | precision | compile | training images/s | expected on an H200 | inference images/s |"]
    lines = [lines[0] + " peak GB | start s | of the upper bound |", "|---|---:|---|---|" + "---:|" * 6]
    for row in record["results"]:
        names = f"| {row['model']} | {row['batch_size']} | {row['precision']} | {row['compile']} |"
        if row["error"]:
            lines.append(f"{names} {row['error']} |")
            continue
        train, infer = row["training"], row["inference"]
        share = f"{train['floor_share']:.1%}" if "floor_share" in train else "-"
        span = EXPECTED.get((row["model"], row["compile"] != "off"))
        expected = " to ".join(f"{value:,}" for value in dict.fromkeys(span)) if span else "-"
        lines.append(
            f"{names} {train['images_per_second']:,.0f} | {expected} | {infer['images_per_second']:,.0f} |"
            f" {row['peak_memory_bytes'] / 1e9:.1f} | {row['startup_seconds']:.1f} | {share} |"
        )
    return "\n".join(lines)


def runs_table(name: str, records: list[dict[str, Any]]) -> str:
    """Return a table of the means over the runs that are completed."""
    finished = [record for record in records if record["status"] == "completed"]
    cells = [name, f"{len(finished)} of {len(records)}"]
    for key, _, scale, digits in FIGURES:
        values = [scale * record[key] for record in finished if record.get(key) is not None]
        spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
        cells.append(f"{mean(values):,.{digits}f}{spread}" if values else "-")
    heads = ["run", "n", *(head for _, head, _, _ in FIGURES)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), cells))


def main() -> None:
    """Print the table; of a folder of runs, also write their records into one file beside it."""
    path = Path(sys.argv[1])
    if path.is_dir():
        records = [json.loads(file.read_text()) for file in sorted(path.rglob("summary.json"))]
        path.with_name(f"runs-{path.name}.json").write_text(json.dumps(records, indent=2) + "\n")
        print(runs_table(path.name, records))
    else:
        print(benchmark_table(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
