"""A disk that is full."""

import os
import subprocess
import sys
from textwrap import dedent

import pandas as pd
import pytest

from tests.execute.unruly import SUITE, left_behind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_disk_that_fills_at_any_size_loses_nothing_and_the_run_goes_on_with_more_room(bench, tmp_path):
    """Ten sizes, from one that holds no entry to one that lacks only the report; then the same disk, larger."""
    suite = dedent(SUITE).replace("plugins: [unruly.py]\nmetrics: [unruly, wasserstein]\n", "")
    (tmp_path / "unruly.yaml").write_text(suite.replace("unruly, steps", "heun, steps").replace("n: 16", "n: 3000"))
    run = ("run", tmp_path / "unruly.yaml", "--results")

    def numbers(results):
        records = pd.read_csv(results / "unruly" / "tables" / "records.csv", keep_default_na=False)
        return records.loc[~records["metric"].str.contains("seconds"), ["cell", "metric", "value", "status"]]

    assert bench(*run, tmp_path / "whole").returncode == 0
    needed = sum(path.stat().st_blocks * 512 for path in (tmp_path / "whole").rglob("*") if path.is_file())
    ends = []
    for tenth in range(10):
        disk = tmp_path / f"disk{tenth}"
        disk.mkdir()
        size = int(needed * (0.1 + 0.1 * tenth)) // 1024 + 64
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", disk], check=False).returncode:
            pytest.skip("no small disk can be mounted here")
        try:
            done = bench(*run, disk)
            said = done.stdout + done.stderr
            ends.append(done.returncode)
            assert "Traceback" not in said
            assert done.returncode in (0, 1), said
            assert said.count("No space left") <= 2, "once for the run, once for its report"
            assert done.returncode == 0 or "No space left" in said, said
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            done = bench(*run, disk)
            assert done.returncode == 0, done.stdout + done.stderr
            pd.testing.assert_frame_equal(numbers(disk), numbers(tmp_path / "whole"))
            assert bench("store", "verify", "--results", disk).returncode == 0
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
    assert ends[:8] == [1] * 8, ends


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_ends_the_run_in_one_sentence(bench, tmp_path):
    (tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path / "disk"], check=True)
    try:
        suite = dedent(SUITE).replace("plugins: [unruly.py]\nmetrics: [unruly, wasserstein]\n", "")
        suite = suite.replace("unruly, steps", "heun, steps").replace("n: 16", "n: 30000")
        (tmp_path / "unruly.yaml").write_text(suite)
        done = bench("run", tmp_path / "unruly.yaml", "--results", tmp_path / "disk")
    finally:
        subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert said.count("No space left") <= 2, "once for the run, once for its report"
    assert "store" in said
    assert not left_behind()
