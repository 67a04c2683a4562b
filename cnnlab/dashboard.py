"""Open TensorBoard on all runs: `cnnlab dashboard`."""

import json
import logging
import tempfile
from pathlib import Path
from time import sleep
from urllib.parse import urlencode

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.errors import RequestError
from cnnlab.runs.reading import find_runs
from cnnlab.runs.summary import read_record
from cnnlab.waiting import tell

log = logging.getLogger("cnnlab.dashboard")

# TensorBoard starts with curves that are not smoothed, all runs of an architecture in one colour, those of the groups
# left to Custom Scalars, and the most important charts on top.
URL_SAFE = "/:,[]()^"  # letters that browsers leave as they are
START = {
    "smoothing": 0,
    "runColorGroup": "regex:^([^/,( ]+)",
    "runFilter": "/",
    "pinnedCards": json.dumps(
        [{"plugin": "scalars", "tag": tag} for tag in ("val/accuracy", "val/loss")], separators=(",", ":")
    ),
}
REFRESH = 15  # seconds between searches for new runs


def dashboard(config: DictConfig) -> None:
    """Serve TensorBoard until it is interrupted; nothing is written to the runs."""
    settings = configuration.settings(config)
    runs, port, host = (settings[key] for key in ("runs", "port", "host"))
    paths = [runs] if isinstance(runs, str) else runs
    if not paths or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise RequestError(f"runs must be a folder or a list of folders, got {runs!r}")
    if port is not None and (type(port) is not int or not 0 <= port < 65536):
        raise RequestError(f"port must be a whole number below 65536, or null for the first free one, got {port!r}")
    found = find_runs(paths)  # fail before anything slow is imported
    records = [read_record(path / "summary.json") for path in found]
    if not any((record or {}).get("status") for record, _ in records):
        raise RequestError(f"runs: {found[0]} is damaged: {'; '.join(records[0][1]) or 'its record has no status'}")

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it would warn of every run that was resumed
    from tensorboard.program import TensorBoard, TensorBoardServerException

    from cnnlab.comparison.tensorboard_view import View

    with tempfile.TemporaryDirectory(prefix="cnnlab-dashboard-") as folder:
        tell("Reading the runs")
        view = View(Path(folder), paths)
        for run in view.runs:
            for problem in run.problems:
                log.warning("%s: %s", run.path, problem)
        board = TensorBoard()
        # The fast loader takes the HParams columns from any run that names some, and needs another process.
        arguments = ["--logdir", folder, "--host", str(host), "--window_title", "cnnlab", "--load_fast", "false"]
        arguments += ["--samples_per_plugin", "text=1"]  # the newest
        board.configure([None, *arguments, "--port", "default" if port is None else str(port)])
        try:
            url = board.launch()
        except SystemExit:  # the web server has told why
            raise RequestError(f"host: {host} is not a name or address of this machine") from None
        except TensorBoardServerException as error:
            raise RequestError(f"port: {' '.join(str(error).split())}") from None
        log.info("%s?%s#%s&_smoothingWeight=0", url, urlencode(START, safe=URL_SAFE), view.page)
        log.info("Ctrl-C stops it.")
        while True:
            sleep(REFRESH)
            view.refresh()


main = configuration.make_command("dashboard", dashboard, loads="TensorBoard")

if __name__ == "__main__":
    main()
