"""Walking a folder: order, what is left out, links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ragkit.errors import LoadError
from ragkit.loaders import Skipped, walk


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def relative(root: Path, *, follow_links: bool = False) -> tuple[list[str], dict[str, str]]:
    report: list[Skipped] = []
    files = walk(root, follow_links=follow_links, report=report)
    for f in files:
        assert f.size == f.path.stat().st_size
        assert f.mtime_ns == f.path.stat().st_mtime_ns
        assert not f.alone
    return [f.relative for f in files], {s.path: s.reason for s in report}


def test_an_empty_folder_gives_nothing(tmp_path: Path) -> None:
    assert relative(tmp_path) == ([], {})


def test_files_come_in_the_order_of_their_relative_paths(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a/z.txt", "a.txt", "a/b/c.txt", "Z.txt")
    assert relative(tmp_path) == (["Z.txt", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt"], {})


def test_hidden_names_caches_and_collections_are_left_out(tmp_path: Path) -> None:
    make(
        tmp_path,
        "kept.txt",
        ".hidden",
        ".git/x",
        "__pycache__/x.txt",
        "node_modules/m/x.js",
        "docs.rag/CURRENT",
        "docs.rag/segments/1/a.txt",
    )
    make(tmp_path, "half/CURRENT", "half/segments")  # a file called segments makes no collection
    assert relative(tmp_path) == (["half/CURRENT", "half/segments", "kept.txt"], {})


def test_a_collection_given_as_root_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "CURRENT", "segments/1/a.txt")
    files, report = relative(tmp_path)
    assert files == []
    assert "ragkit collection" in report["."]


def test_a_file_given_by_itself(tmp_path: Path) -> None:
    make(tmp_path, "a/b.txt")
    [file] = walk(tmp_path / "a/b.txt")
    assert (file.relative, file.size, file.alone) == ("b.txt", 1, True)


def test_a_hidden_root_is_walked(tmp_path: Path) -> None:
    make(tmp_path, ".notes/a.txt")
    assert relative(tmp_path / ".notes") == (["a.txt"], {})


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file or folder"):
        walk(tmp_path / "absent")


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert relative(tmp_path) == ([], {"pipe.txt": "not a regular file (a pipe, socket or device)"})
    with pytest.raises(LoadError, match="not a regular file"):
        walk(tmp_path / "pipe.txt")


def test_names_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    files, report = relative(tmp_path)
    assert files == []
    assert report == {"caf\\udce9.txt": "its name is not valid UTF-8; rename it"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "closed/a.txt", "b.txt")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "b.txt").chmod(0)
    try:
        files, report = relative(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert files == []
    assert report == {"closed": "folder can't be read: Permission denied", "b.txt": "can't be read: Permission denied"}


def test_a_folder_that_vanishes_or_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.txt", "sub/b.txt")
    scandir = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    assert relative(tmp_path) == (["a.txt"], {"sub": "folder can't be read: Permission denied"})


def test_links_are_reported_and_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "sub/b.txt")
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "folder").symlink_to("sub")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "dangling.txt").symlink_to("absent.txt")
    files, report = relative(tmp_path)
    assert files == ["a.txt", "sub/b.txt"]
    reason = "symbolic link; not followed (follow_links=True follows those that stay inside the folder)"
    assert report == dict.fromkeys(["dangling.txt", "folder", "link.txt", "loop"], reason)


def test_followed_links_give_each_file_once(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "sub/b.txt", ".store/c.txt", ".store/deep/d.txt")
    (tmp_path / "same.txt").symlink_to("a.txt")
    (tmp_path / "c.txt").symlink_to(".store/c.txt")
    (tmp_path / "linked").symlink_to(".store")
    (tmp_path / ".store/back").symlink_to("..")
    files, report = relative(tmp_path, follow_links=True)
    assert files == ["a.txt", "c.txt", "linked/deep/d.txt", "sub/b.txt"]
    assert set(report) == {"same.txt", "linked/c.txt", "linked/back"}
    assert all("under another name" in r for r in report.values())


def test_loops_end_and_links_out_of_the_folder_are_never_read(tmp_path: Path) -> None:
    make(tmp_path, "outside/secret.txt", "docs/a.txt")
    root = tmp_path / "docs"
    (root / "self").symlink_to("self")
    (root / "up").symlink_to("..")
    (root / "here").symlink_to(".")
    (root / "secret.txt").symlink_to("../outside/secret.txt")
    (root / "absolute").symlink_to(tmp_path / "outside")
    (root / "via").symlink_to("here/../outside")
    (root / "dangling").symlink_to("absent")
    files, report = relative(root, follow_links=True)
    assert files == ["a.txt"]
    leaving = "symbolic link that leaves the folder; never followed"
    assert {k: v for k, v in report.items() if v == leaving} == dict.fromkeys(["absolute", "secret.txt", "up", "via"], leaving)
    assert "another name" in report["here"]
    assert report["dangling"].startswith("symbolic link to nothing")
    assert report["self"].startswith("symbolic link to nothing")


def test_a_root_that_is_a_link_is_walked(tmp_path: Path) -> None:
    make(tmp_path, "real/a.txt")
    (tmp_path / "alias").symlink_to("real")
    assert relative(tmp_path / "alias", follow_links=True) == (["a.txt"], {})
