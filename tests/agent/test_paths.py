import os
import stat

import pytest

from tickbird import config
from tickbird.errors import CannotCreate, UsageError
from tickbird.paths import private_folder, runtime_home, state_home


def test_a_folder_is_made_for_its_user_alone(tmp_path):
    folder = private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_could_enter_is_shut(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    assert stat.S_IMODE(private_folder(folder).stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_what_somebody_put_in_the_place_of_the_folder_is_refused(tmp_path, kind):
    path, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    if kind == "file":
        path.touch()
    else:
        if kind == "link":
            elsewhere.mkdir()
        path.symlink_to(elsewhere)
    with pytest.raises(CannotCreate) as refused:
        private_folder(path)
    assert str(path) in str(refused.value)
    assert refused.value.remedy
    assert kind != "dangling" or not elsewhere.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a folder of another user")
def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    monkeypatch.setenv("TICKBIRD_RUNTIME_DIR", str(folder))
    with pytest.raises(CannotCreate, match="another user's"):
        runtime_home()


@pytest.mark.parametrize(
    ("variable", "home"),
    [("TICKBIRD_STATE_DIR", state_home), ("TICKBIRD_RUNTIME_DIR", runtime_home)],
)
def test_a_place_that_is_no_absolute_path_is_refused_by_the_variables_name(
    monkeypatch, variable, home
):
    monkeypatch.setenv(variable, "relative")
    with pytest.raises(UsageError, match=f"{variable} must be an absolute path"):
        home()
    monkeypatch.setenv(variable, "")
    assert home().is_absolute()


def test_a_file_that_names_the_state_folder_goes_before_the_variable(monkeypatch):
    monkeypatch.setenv("TICKBIRD_STATE_DIR", "/from/variable")
    assert str(config.parse("").state_dir) == "/from/variable"
    assert str(config.parse("state_dir: /from/file").state_dir) == "/from/file"


def test_a_runtime_folder_that_cannot_be_made_names_its_own_variable(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TICKBIRD_RUNTIME_DIR", str(tmp_path / "file" / "run"))
    with pytest.raises(CannotCreate) as refused:
        runtime_home()
    assert "TICKBIRD_RUNTIME_DIR" in (refused.value.remedy or "")
    with pytest.raises(CannotCreate) as refused:
        private_folder(tmp_path / "file" / "state")
    assert "TICKBIRD_STATE_DIR" in (refused.value.remedy or "")
