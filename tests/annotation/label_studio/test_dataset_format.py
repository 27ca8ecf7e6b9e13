"""An export as Label Studio JSON through the real server: imported, exported, and read back the same."""

from __future__ import annotations

import json
import shutil

from annotation.label_studio.client import LabelStudioClient
from dataset_tools.formats.job import ExportJob
from dataset_tools.formats.label_studio import read_label_studio, write_label_studio


def test_the_real_server_imports_our_tasks_and_exports_them_without_loss(
    label_studio, load_fake, chain, tmp_path
):
    trips = load_fake("trips")
    job = ExportJob(chain[1]["split"], chain[0].images, include_proposals=True)
    folder = trips.write(write_label_studio, job, tmp_path / "out")
    tasks = [one for path in sorted(folder.glob("*.json")) for one in json.loads(path.read_text())]
    with LabelStudioClient(label_studio.url, label_studio.account.token) as client:
        config = (folder / "labelling_config.xml").read_text()
        project = client.create_project("dataset format", config, "", 1)
        client.import_tasks(project.id, tasks)
        back = client.request(
            "export", "GET", f"api/projects/{project.id}/export",
            params={"exportType": "JSON", "download_all_tasks": "true"},
        )  # fmt: skip
    assert len(back) == len(tasks) == 6
    shutil.copytree(folder / "images", tmp_path / "back" / "images")
    (tmp_path / "back" / "export.json").write_text(json.dumps(back))
    said = trips.read_all(read_label_studio, tmp_path / "back")
    # It exports the numbers of predictions, not their results: proposals do not come back.
    unlabelled = [key for key, labels in said.labels.items() if labels is None]
    assert len(unlabelled) == 1
    del said.pictures[unlabelled[0]]
    trips.assert_kept(ExportJob(chain[1]["split"], chain[0].images), said)
