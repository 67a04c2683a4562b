"""Measure how fast networks train and predict: `cnnlab benchmark models=[lenet5,resnet20]`."""

import logging
import shlex
import tempfile

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.arguments import check_declared
from cnnlab.display import suggest_next
from cnnlab.errors import Failed, RequestError
from cnnlab.files import write_atomically
from cnnlab.runs.directory import check_output
from cnnlab.runs.plain import to_json
from cnnlab.waiting import tell

log = logging.getLogger("cnnlab.benchmark")


def benchmark(config: DictConfig) -> None:
    """Measure every combination of the listed models and options, print tables, and write the files asked for."""
    settings = configuration.settings(config)
    if settings["resume"] is not None:
        raise RequestError("resume: leave it out; a benchmark trains anew")
    models = configuration.each_model(config)
    output = check_output(settings["output"], (".json",))
    figure = check_output(settings["figure"], (".png", ".pdf", ".svg"), "figure")
    data, trainer = settings["data"], settings["trainer"]
    single = {"batch_sizes": data["batch_size"], "precisions": trainer["precision"], "compile": trainer["compile"]}
    lists = {key: [value] if settings[key] is None else settings[key] for key, value in single.items()}
    if empty := [key for key, values in lists.items() if values == []]:
        raise RequestError(f"{empty[0]} must have at least one entry")
    options = {key: settings[key] for key in ("rounds", "steps", "floor")}
    check_declared("cnnlab.speed.benchmark.combinations", lists)
    check_declared("cnnlab.speed.benchmark.measure", options)

    from cnnlab.data.cache import check_available

    if not (is_noise := (data["path"] or data["source"]) == "synthetic"):
        check_available(data)

    from cnnlab.speed.benchmark import combinations, measure
    from cnnlab.speed.report import draw_speed, print_speed

    rows = combinations(list(models), **lists)
    command = ["cnnlab", "benchmark", *configuration.command_line()]
    with tempfile.TemporaryDirectory() as folder:
        if is_noise:
            data["cache"] = data["cache"] or folder  # random images need not be kept
        record = {
            "command": shlex.join(command),
            "images": data["path"] or data["source"],
            "recipe": configuration.chosen_groups()["recipe"],
            "rounds": settings["rounds"],
            **measure(rows, settings, models, **options, show=_show),
        }
    print_speed(record)
    if output:
        write_atomically(output, to_json(record) + "\n")
        log.info("%s", output)
    if figure:
        draw_speed(record, figure)
        log.info("%s", figure)
    if failed := [row for row in record["results"] if row["error"]]:
        raise Failed(f"{len(failed)} of {len(rows)} combinations failed; the first: {failed[0]['error']}")
    # How near is this to the limit of the machine? If that is known: where are the multiplications?
    layers = ["cnnlab", "describe", f"models=[{','.join(models)}]"]
    suggest_next(shlex.join(layers if settings["floor"] else [*command, "floor=true"]))


def _show(line: str) -> None:
    log.info(line)
    tell("Measuring")


main = configuration.make_command("benchmark", benchmark)

if __name__ == "__main__":
    main()
