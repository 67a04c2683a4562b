"""Find what is wrong with the images of a data set: `cnnlab audit data=folder data.path=FOLDER`."""

import logging
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.display import progress_bar
from cnnlab.errors import RequestError
from cnnlab.files import from_here, write_atomically
from cnnlab.instantiate import read_options
from cnnlab.limits import AboveZero, Count, Device
from cnnlab.runs.directory import check_output_folder, own_folder, run_of
from cnnlab.runs.plain import to_json
from cnnlab.runs.reading import checkpoint_files
from cnnlab.waiting import tell

log = logging.getLogger("cnnlab.audit")

BATCH_SIZE = 256


@dataclass(frozen=True)
class Request:
    """Hold the keys of the command, without those of the data; see conf/audit.yaml."""

    checkpoint: str | list[str] | None
    similarity: AboveZero
    shown: Count
    output: str | None
    device: Device
    trust: str | list[str] | None = None


def audit(config: DictConfig) -> None:
    """Look at all images, print what was found, and write a page, a table and a record."""
    started = time.perf_counter()
    request = read_options(Request, configuration.settings(config))
    files = checkpoint_files(request.checkpoint)
    runs = [run for file in files if (run := run_of(file))]
    folder = check_output_folder(request.output or own_folder(Path("audit")))
    data = configuration.data_settings(config, runs[0]) if runs else configuration.settings(config)["data"]

    from cnnlab.data.sources import source_of

    source = source_of(data)
    if data["exclude"]:
        raise RequestError("data.exclude: an audit looks at all images; data.exclude=null, and runs that learned all")
    source.check()

    from cnnlab.auditing import findings as table
    from cnnlab.auditing.duplicates import exact_groups, near_pairs
    from cnnlab.auditing.labels import find_suspects
    from cnnlab.auditing.outliers import far_from_class, find_outliers
    from cnnlab.auditing.page import render_page
    from cnnlab.auditing.report import print_report, record_of
    from cnnlab.auditing.shortcuts import find_shortcuts
    from cnnlab.auditing.survey import survey
    from cnnlab.data.exclusion import data_digest
    from cnnlab.data.images import streamed_images
    from cnnlab.data.splits import name_classes

    found = survey(streamed_images(source, 32))
    digest = data_digest(source, found.data)
    found = found.with_data(name_classes(found.data, data["classes"] or ()))
    tell("Judging the labels")
    suspects, judged = find_suspects(found, [run.path for run in runs]) if runs else ([], {})
    features = None
    if files:
        import torch

        from cnnlab.inference.classify import unit_features
        from cnnlab.inference.trained import load

        net = load(files[0], request.device, "auto", request.trust)
        splits = [replace(images, size=net.image_size) for images in (found.data.train, found.data.test)]
        with progress_bar(len(found), "features of the images") as bar:
            features = torch.cat([unit_features(net, images, BATCH_SIZE, bar.update) for images in splits])
    groups, pairs = exact_groups(found), near_pairs(found, request.similarity, features)
    tell("Looking for unusual images")
    findings = table.about_duplicates(found, groups, pairs)
    far = far_from_class(features, found.labels) if features is not None else {}
    findings += table.about_single_images(found, suspects, find_outliers(found), far)
    tell("Looking for shortcuts")
    shortcuts = find_shortcuts(found)
    command = shlex.join(["cnnlab", "audit", *configuration.command_line()])
    name = Path(data["path"]).name if data["path"] else data["source"]
    record = record_of(name, found, findings, shortcuts, judged, digest, command)
    tell("Drawing the page")
    page = render_page(found, record, findings, shortcuts, request.shown)
    folder.mkdir(exist_ok=True)
    write_atomically(folder / "audit.csv", table.as_table(found, findings, digest))
    write_atomically(folder / "audit.html", page)
    record["seconds"] = round(time.perf_counter() - started, 1)
    write_atomically(folder / "audit.json", to_json(record) + "\n")
    print_report(record, shortcuts)
    log.info("%s", from_here(folder / "audit.html"))


main = configuration.make_command("audit", audit)

if __name__ == "__main__":
    main()
