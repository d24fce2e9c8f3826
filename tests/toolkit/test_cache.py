"""The location of the user's cache."""

import pytest

from toolkit import UserError
from toolkit.cache import cache_folder


def test_where_the_cache_lies_unless_somebody_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("VERSA_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("VERSA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "versa"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "versa"


def test_a_user_without_a_home_hears_of_the_variable(monkeypatch):
    for name in ("VERSA_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as without an entry in passwd
    with pytest.raises(UserError, match=r"no home folder .*; set VERSA_CACHE"):
        cache_folder()
