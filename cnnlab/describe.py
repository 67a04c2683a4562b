"""Describe networks layer by layer, or compare them: `cnnlab describe model=resnet18`."""

import re
import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.arguments import check_declared
from cnnlab.display import suggest_next, terminal_width
from cnnlab.errors import RequestError
from cnnlab.files import write_atomically
from cnnlab.instantiate import read_options
from cnnlab.runs.directory import check_output
from cnnlab.waiting import tell

if TYPE_CHECKING:
    from cnnlab.inspection.layer_report import Form

SUFFIXES: dict[str, "Form"] = {".json": "json", ".md": "markdown", ".txt": "plain"}


def describe(config: DictConfig) -> None:
    """Print the layers of a network, or one line for each of several networks."""
    settings = configuration.settings(config)
    models = configuration.each_model(config)
    output = check_output(settings["output"], SUFFIXES)
    check_declared("cnnlab.inspection.layer_report.render", {"format": settings["format"]})
    if not isinstance(settings["data"], dict):
        raise RequestError("data: give data.image_size, data.channels and data.classes; no images are loaded here")
    check_declared("cnnlab.build.network.DescribedImages", settings["data"], "data")

    from cnnlab.build.network import DescribedImages, tabulate_network
    from cnnlab.inspection.layer_report import Description, render
    from cnnlab.inspection.published import published

    data = read_options(DescribedImages, settings["data"], "data")
    descriptions = []
    for choice, model in models.items():
        tell(f"Computing the layers of {choice} ({len(descriptions) + 1} of {len(models)})")
        table = tabulate_network(model, data)
        figures = published(choice, model, data.classes, data.shape)
        descriptions.append(Description(configuration.model_name(choice, model), data.classes, table, figures))
    compare = settings["models"] is not None
    sys.stdout.write(render(descriptions, compare, settings["format"], terminal_width()))
    if output:
        write_atomically(output, render(descriptions, compare, SUFFIXES[output.suffix]))
    suggest_next(shlex.join(_train_command(models)))


def _train_command(models: Iterable[str]) -> list[str]:
    """Return the command that trains the described networks with the same options."""
    options = [arg for arg in configuration.command_line() if re.match(r"\W*(model\.|data\.image_size=)", arg)]
    names = list(models)
    return ["cnnlab", "train", *(["-m"] if len(names) > 1 else []), f"model={','.join(names)}", *options]


main = configuration.make_command("describe", describe)

if __name__ == "__main__":
    main()
