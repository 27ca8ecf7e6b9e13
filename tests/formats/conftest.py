"""What every format's tests start from."""

from __future__ import annotations

import pytest

from dataset_tools.formats.job import ExportJob


@pytest.fixture(scope="session")
def trips(load_fake):
    return load_fake("trips")


@pytest.fixture
def job(chain):
    return ExportJob(chain[1]["split"], chain[0].images, include_proposals=True)
