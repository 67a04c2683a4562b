import zipfile

import pytest
import torch

from cnnlab.errors import RequestError
from cnnlab.runs.archive import check_archive


@pytest.mark.parametrize("key", ["checkpoint", "resume", "weights"])
def test_files_of_torch_are_told_from_others(tmp_path, key):
    torch.save({"a": torch.ones(3)}, tmp_path / "new.pt")
    check_archive(tmp_path / "new.pt", key)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photos/cat.png", b"a picture")
    with pytest.raises(RequestError, match=f"{key}: .*photos.zip is not a checkpoint, but another zip archive"):
        check_archive(tmp_path / "photos.zip", key)
    for content in (b"", b"notes", b"PK\x03\x04 torn"):
        (tmp_path / "notes").write_bytes(content)
        with pytest.raises(RequestError, match=f"{key}: .*notes is damaged or not a checkpoint"):
            check_archive(tmp_path / "notes", key)


def test_weights_may_be_no_archive(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    check_archive(tmp_path / "old.pt", "weights")
    with pytest.raises(RequestError, match="is damaged or not a checkpoint"):
        check_archive(tmp_path / "old.pt", "resume")
