"""Export a trained network as a file that is used without cnnlab: `cnnlab export checkpoint=PATH`."""

import shlex
import sys

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.arguments import check_declared
from cnnlab.display import suggest_next, wrapped
from cnnlab.inference.formats import SUFFIXES, check_options
from cnnlab.runs.directory import check_output, check_output_folder, checkpoint_file
from cnnlab.waiting import tell


def export(config: DictConfig) -> None:
    """Write the file, and print its description and how far its outputs are from the checkpoint's."""
    settings = configuration.settings(config)
    options = {key: settings[key] for key in ("format", "opset", "normalize", "softmax", "trust", "calibrated")}
    check_declared("cnnlab.inference.export.export_network", {"checkpoint": settings["checkpoint"], **options})
    check_options(*(options[key] for key in ("format", "opset", "normalize", "softmax", "calibrated")))
    if options["format"] == "hub":
        output = None if settings["output"] is None else check_output_folder(settings["output"])
    else:
        output = check_output(settings["output"], (SUFFIXES[options["format"]],))
    checkpoint_file(settings["checkpoint"])

    from cnnlab.inference.export import BATCH_SIZES, export_network

    tell(f"Exporting ({options['format']})")
    exported = export_network(settings["checkpoint"], output, **options)
    for file in exported.files:
        print(f"{file}: {file.stat().st_size:,} bytes")
    for key in ("input", "output", "opset"):
        if key in exported.metadata:
            print(wrapped(f"  {key:<8}{exported.metadata[key]}", sys.stdout))
    checked = f"checked with batches of {', '.join(map(str, BATCH_SIZES))}"
    differ = f"outputs differ from the checkpoint's by at most {exported.difference:.1e}"
    print(wrapped(f"  {checked}: {differ}", sys.stdout))
    if options["format"] == "hub":
        suggest_next(shlex.join(["hf", "upload", "OWNER/NAME", str(exported.files[0].parent)]))
    else:
        suggest_next(shlex.join(["python", "-c", exported.example]))


main = configuration.make_command("export", export)

if __name__ == "__main__":
    main()
