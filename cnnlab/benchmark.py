"""Measures how fast networks train and answer: `python -m cnnlab.benchmark models=[lenet5,resnet20]`."""

import json
import logging
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.data.cache import check_available
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError
from cnnlab.instantiate import check_arguments
from cnnlab.runs.directory import write_atomically

log = logging.getLogger("cnnlab.benchmark")


def benchmark(config: DictConfig) -> None:
    """Measures every combination of what the configuration lists; prints tables, and writes what it is asked for."""
    settings = configuration.settings(config)
    data = settings["data"]
    check_available(find_source(data["source"], data["path"]), data["image_size"], data["cache"])
    for key in ("output", "figure"):
        if settings[key] and not Path(settings[key]).absolute().parent.is_dir():
            raise RequestError(f"{key}: the folder of {settings[key]} does not exist")

    from cnnlab.reports.speed import draw_speed, print_speed
    from cnnlab.speed.benchmark import combinations, measure

    chosen = configuration.choices()
    alone = {
        "models": chosen["model"],
        "batch_sizes": data["batch_size"],
        "precisions": settings["trainer"]["precision"],
        "compile": settings["trainer"]["compile"],
    }
    listed = {key: [value] if settings[key] is None else settings[key] for key, value in alone.items()}
    asked = {key: settings[key] for key in ("rounds", "steps", "floor")}
    check_arguments(combinations, listed)
    check_arguments(measure, asked)
    rows = combinations(**listed)
    models = {name: configuration.choice("model", name) for name in settings["models"] or []}
    models = models or {listed["models"][0]: settings["model"]}
    with tempfile.TemporaryDirectory() as folder:
        if (data["path"] or data["source"]) == "synthetic":
            data["cache"] = data["cache"] or folder  # noise need not be kept
        record = {
            "command": " ".join(["python -m cnnlab.benchmark", *configuration.command_line()]),
            "images": data["path"] or data["source"],
            "recipe": chosen["recipe"],
            "rounds": settings["rounds"],
            **measure(rows, settings, models, **asked, say=log.info),
        }
    print_speed(record)
    if settings["output"]:
        write_atomically(Path(settings["output"]), json.dumps(record, indent=2) + "\n")
        log.info("%s", settings["output"])
    if settings["figure"]:
        draw_speed(record, Path(settings["figure"]))
        log.info("%s", settings["figure"])
    if failed := [row for row in record["results"] if row["error"]]:
        raise RuntimeError(f"{len(failed)} of {len(rows)} combinations failed; the first: {failed[0]['error']}")


main = configuration.command("benchmark", benchmark)

if __name__ == "__main__":
    main()
