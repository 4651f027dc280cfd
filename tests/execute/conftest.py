"""Jobs that misbehave, in a whole run."""

import pandas as pd
import pytest

from tests.execute.unruly import left_behind, write


@pytest.fixture
def unruly(bench, tmp_path):
    """Run the suite with these deeds; returns its cells, its records, and what was printed."""

    def run(*options, status=1, **deeds):
        done = bench("run", write(tmp_path, **deeds), "--results", tmp_path / "results", *options)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        tables = tmp_path / "results" / "unruly" / "tables"
        cells, records = (pd.read_csv(tables / f"{name}.csv", keep_default_na=False) for name in ("cells", "records"))
        assert not left_behind()
        return cells, records, done.stdout + done.stderr

    return run
