"""Writes a trained network as a file that is used without cnnlab: `python -m cnnlab.export checkpoint=PATH`."""

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.instantiate import check_arguments
from cnnlab.runs.directory import check_output


def export(config: DictConfig) -> None:
    """Writes the file, and prints what it is and how far its answers are from the checkpoint's."""
    settings = configuration.settings(config)
    options = {key: settings[key] for key in ("format", "opset", "normalize", "softmax")}

    from cnnlab.inference.export import BATCH_SIZES, SUFFIXES, deploy

    check_arguments(deploy, {"checkpoint": settings["checkpoint"], **options})
    output = check_output(settings["output"], (SUFFIXES[options["format"]],))
    deployed = deploy(settings["checkpoint"], output, **options)
    for file in deployed.files:
        print(f"{file}: {file.stat().st_size:,} bytes")
    for key in ("input", "output", "opset"):
        if key in deployed.about:
            print(f"  {key:<8}{deployed.about[key]}")
    batches = ", ".join(map(str, BATCH_SIZES))
    print(f"  checked batches of {batches} images: at most {deployed.difference:.1e} from the checkpoint's answers")


main = configuration.make_command("export", export)

if __name__ == "__main__":
    main()
