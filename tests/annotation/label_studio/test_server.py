from __future__ import annotations

import ipaddress
import json
import re
import socket
import sys
from pathlib import Path

import httpx
import pytest

from annotation.label_studio.accounts import INSIDE
from annotation.label_studio.server import HOST, LabelStudioServer
from dataset_tools.core.errors import ConfigError, ReviewServiceError


def fake_program(folder: Path, body: str) -> Path:
    path = folder / "label-studio"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_server_listens_on_loopback_and_turns_strangers_away(label_studio):
    assert label_studio.url.startswith(f"http://{HOST}:")
    assert httpx.get(f"{label_studio.url}/api/projects/").status_code == 401
    with httpx.Client(base_url=label_studio.url, follow_redirects=True) as stranger:
        page = stranger.get("/user/signup/")
        form = {"email": "eve@example.com", "password": "correct-horse-1"}
        form["csrfmiddlewaretoken"] = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
        refused = stranger.post("/user/signup/", data=form, headers={"Referer": str(page.url)})
        assert refused.status_code == 403
        assert stranger.get("/api/current-user/whoami").status_code == 401


def test_the_account_is_kept_for_the_next_start_and_is_private(tmp_path):
    first = LabelStudioServer(Path("label-studio"), tmp_path / "data")
    again = LabelStudioServer(Path("label-studio"), tmp_path / "data")
    assert first.account == again.account
    assert first.account.token not in repr(first.account)
    assert (tmp_path / "data" / "account.json").stat().st_mode & 0o077 == 0
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_refused_instead_of_taking_the_next(tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        server = LabelStudioServer(Path("label-studio"), tmp_path, taken.getsockname()[1])
        with pytest.raises(ConfigError, match="in use"):
            server.start()


def test_a_server_that_ends_at_once_names_its_log(tmp_path):
    server = LabelStudioServer(fake_program(tmp_path, "raise SystemExit('no database')"), tmp_path / "data")
    with pytest.raises(ReviewServiceError, match=r"server\.log"):
        server.start()
    assert "no database" in server.log_path.read_text()
    assert not server.is_running


def test_a_server_that_never_gets_ready_is_stopped(tmp_path):
    server = LabelStudioServer(fake_program(tmp_path, "import time; time.sleep(60)"), tmp_path / "data")
    with pytest.raises(ReviewServiceError, match="not ready in 1 s"):
        server.start(timeout_s=1)
    assert not server.is_running


def test_the_server_is_told_to_stay_silent_and_gets_none_of_our_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_HOST", "http://elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    body = "import json, os; open('env.json', 'w').write(json.dumps(dict(os.environ)))"
    server = LabelStudioServer(fake_program(tmp_path, body), tmp_path / "data")
    with pytest.raises(ReviewServiceError):
        server.start()
    given = json.loads((tmp_path / "data" / "env.json").read_text())
    assert given["COLLECT_ANALYTICS"] == "false"
    assert given["SENTRY_DSN"] == ""
    assert given["LABEL_STUDIO_USER_TOKEN"] == server.account.token
    assert given["PYTHONPATH"] == str(INSIDE)
    assert "LABEL_STUDIO_HOST" not in given


def test_addresses_of_this_machine_are_open_to_the_server_because_the_server_is_to_no_other(tmp_path):
    given = LabelStudioServer(tmp_path / "label-studio", tmp_path / "data").environment()
    assert (given["ML_BLOCK_LOCAL_IP"], given["SSRF_PROTECTION_ENABLED"]) == ("false", "false")
    assert ipaddress.ip_address(HOST).is_loopback


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="no /proc to see listeners in")
def test_the_server_has_one_listener_and_it_is_on_loopback(label_studio):
    process = Path("/proc") / str(label_studio.pid)
    own = {str(link.readlink()) for link in (process / "fd").iterdir()}
    listeners = [
        row.split()[1]
        for table in ("tcp", "tcp6")
        for row in (process / "net" / table).read_text().splitlines()[1:]
        if row.split()[3] == "0A" and f"socket:[{row.split()[9]}]" in own
    ]
    assert listeners == [f"0100007F:{int(label_studio.url.rsplit(':', 1)[1]):04X}"]


def test_a_data_folder_serves_one_server_at_a_time(label_studio, label_studio_program):
    second = LabelStudioServer(label_studio_program, label_studio.log_path.parent)
    with pytest.raises(ConfigError, match="in use by another Label Studio"):
        second.start()
    assert label_studio.is_running
