"""A file is whole or absent, whatever happens while it is written."""

import os
import subprocess
import sys
import threading

import pytest

from DeepTranslateLib.atomic import atomic_file


def test_replaces_the_file_when_the_block_ends_well(tmp_path):
    path = tmp_path / "model.bin"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["model.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_keeps_the_old_file_and_leaves_nothing_behind_when_the_block_raises(tmp_path, error):
    path = tmp_path / "model.bin"
    path.write_text("old")

    def fail_halfway():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail_halfway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.bin"]


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "model.bin"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_file(path):
        pass
    assert path.read_text() == "old"


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"), atomic_file(tmp_path / "nowhere" / "x") as file:
        file.write_text("x")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "CT.1.2.840.113", "plain", "Émilie 3.json"])
def test_the_temporary_file_lies_beside_and_keeps_what_writers_look_at(tmp_path, name):
    path = tmp_path / name
    with atomic_file(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == (path.suffix or ".part")
        assert temporary.name.endswith(".nii.gz") == name.endswith(".nii.gz")
        temporary.write_text("x")
    assert os.listdir(tmp_path) == [name]


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path):
    path = tmp_path / "state.json"
    texts = [str(number) * 20_000 for number in range(8)]

    def write(text):
        for _ in range(10):
            with atomic_file(path) as temporary:
                temporary.write_text(text)

    threads = [threading.Thread(target=write, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_text() in texts
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.bin"
    path.write_text("old")
    code = (
        "import os, sys\n"
        "from DeepTranslateLib.atomic import atomic_file\n"
        "with atomic_file(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os._exit(9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(path)]
    ended = subprocess.run(command, env=environment, timeout=60, check=False)
    assert ended.returncode == 9
    assert path.read_text() == "old"
