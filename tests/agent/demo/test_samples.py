from pathlib import Path

import pytest

from tickbird.demo.samples import _settle


def test_of_two_demos_that_fetch_the_same_packages_both_go_on(tmp_path: Path) -> None:
    drafts = [tmp_path / "draft.1", tmp_path / "draft.2"]
    for draft in drafts:
        draft.mkdir()
        (draft / "package").touch()
        _settle(draft, tmp_path / "packages")
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


def test_a_draft_that_cannot_be_named_is_no_success(tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    draft.mkdir()
    with pytest.raises(OSError, match="No such file"):
        _settle(draft, tmp_path / "missing" / "packages")
