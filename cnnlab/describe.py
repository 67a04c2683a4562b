"""Describes networks layer by layer, or compares them: `python -m cnnlab.describe model=resnet18`."""

import sys
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.instantiate import check_arguments
from cnnlab.runs.directory import check_output, write_atomically

if TYPE_CHECKING:
    from cnnlab.inspection.layer_report import Form

SUFFIXES: dict[str, "Form"] = {".json": "json", ".md": "markdown", ".txt": "plain"}


def describe(config: DictConfig) -> None:
    """Prints what the configuration's network is made of, or a line for each of its networks."""
    settings = configuration.settings(config)
    models = configuration.each_model(config)
    output = check_output(settings["output"], SUFFIXES)

    from cnnlab.build.network import described_images, tabulate_network
    from cnnlab.inspection.layer_report import Description, render
    from cnnlab.inspection.published import published
    from cnnlab.reports.terminal import terminal_width

    check_arguments(render, {"format": settings["format"]})
    data = described_images(settings["data"])
    descriptions = []
    for choice, model in models.items():
        table = tabulate_network(model, data)
        printed = published(choice, model, data.classes, data.shape)
        descriptions.append(Description(configuration.model_name(choice, model), data.classes, table, printed))
    compare = settings["models"] is not None
    sys.stdout.write(render(descriptions, compare, settings["format"], terminal_width()))
    if output:
        write_atomically(output, render(descriptions, compare, SUFFIXES[output.suffix]))


main = configuration.make_command("describe", describe)

if __name__ == "__main__":
    main()
