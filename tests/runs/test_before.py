from cnnlab.runs.before import Before


def test_only_new_logs_and_new_empty_folders_are_removed(tmp_path):
    for name in ("runs/unused", "kept/used"):
        before = Before(tmp_path / name)
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "train.log").touch()
        if name == "kept/used":
            (tmp_path / name / "metrics.csv").touch()
        before.remove_added(tmp_path / name)
    assert not (tmp_path / "runs").exists()
    assert sorted(file.name for file in (tmp_path / "kept" / "used").iterdir()) == ["metrics.csv", "train.log"]


def test_lines_that_a_refused_request_added_to_a_log_are_removed(tmp_path):
    log, notes = tmp_path / "train.log", tmp_path / "notes.txt"
    log.write_text("an earlier line\n")
    notes.write_text("of the user\n")
    before = Before(tmp_path)
    for file in (log, notes):
        with file.open("a") as stream:
            stream.write("a later line\n")
    before.remove_added(tmp_path)
    assert log.read_text() == "an earlier line\n"
    assert notes.read_text() == "of the user\na later line\n"


def test_files_and_folders_that_were_there_before_are_not_removed(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "logs").mkdir()
    for name in ("train.log", "important.log"):
        (tmp_path / "logs" / name).touch()
    for name in ("logs", "empty", "empty/new/deep"):
        before = Before(tmp_path / name)
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "errors.log").touch()
        before.remove_added(tmp_path / name)
    assert sorted(file.name for file in (tmp_path / "logs").iterdir()) == ["important.log", "train.log"]
    assert list((tmp_path / "empty").iterdir()) == []
