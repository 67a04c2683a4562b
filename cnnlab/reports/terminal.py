"""Tables on the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_summary(summary: dict[str, Any], path: Path) -> None:
    """Prints the closing table of a run.

    Args:
        summary: the record.
        path: the run directory.
    """
    table = Table(show_header=False, title=f"{summary['name']}: {summary['status']}", title_justify="left", min_width=60)
    selected = "test images" if summary["protocol"] == "article" else "held-out images"
    rows = (
        ("test accuracy", _percent(summary["test_accuracy"])),
        ("test loss", _number(summary["test_loss"], ".4f")),
        ("validation accuracy", f"{_percent(summary['val_accuracy'])}, epoch {summary['best_epoch']} ({selected})"),
        ("model", f"{summary['model']}, {summary['parameters']:,} parameters, {summary['macs'] / 1e6:,.1f} M MACs an image"),
        ("recipe, data", f"{summary['recipe']}, {summary['data']} ({summary['data_fingerprint']})"),
        ("training", f"{summary['epochs']} epochs, {summary['steps']:,} steps, {_number(summary['train_seconds'], ',.1f')} s"),
        ("speed", f"{_number(summary['images_per_second'], ',.0f')} images/s, {summary['precision']}"),
        ("device", summary["device"]),
        ("record", str(path)),
    )
    for name, value in rows:
        table.add_row(name, value, style="bold" if name == "test accuracy" else None)
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else f"{value:{spec}}"
