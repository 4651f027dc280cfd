"""A checkpoint is used whole and by its own job, or moved away and said: never a traceback, never another number."""

import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench import checkpoint
from bench.checkpoint import Checkpoint
from bench.store.partial import Partial


def fresh(file, width=4):
    """A net after one step, its checkpoint, and losses of ten steps."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    kept = Checkpoint(Partial(file), {"nets": net}, optimizer)
    return net, optimizer, kept, torch.zeros(10, 1)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    file = tmp_path / "store" / "partial" / "train-aa-bb.safetensors"
    net, optimizer, kept, losses = fresh(file)
    net(torch.randn(3, 2)).square().sum().backward()
    optimizer.step()
    losses[:4] = 2.0
    kept.save(4, 9.5, losses)
    return file


def aside(file):
    folder = file.parent.parent / "aside"
    return list(folder.iterdir()) if folder.exists() else []


def test_what_was_saved_comes_back(file):
    net, optimizer, kept, losses = fresh(file)
    before = net.state_dict()["0.weight"].clone()
    assert kept.load(losses) == (4, 9.5)
    assert losses.sum() == 8
    assert not torch.equal(before, net.state_dict()["0.weight"])
    assert len(optimizer.state) == len(list(net.parameters()))
    assert aside(file) == []
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refused(file, capsys, **net):
    module, optimizer, kept, losses = fresh(file, **net)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert kept.load(losses) == (0, 0.0)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not optimizer.state
    assert not losses.any()
    said = capsys.readouterr().out
    assert file.name in said
    assert "training starts anew" in said
    assert len(aside(file)) == 1
    assert not os.path.lexists(file)
    kept.save(2, 1.0, losses)
    assert fresh(file, **net)[2].load(losses) == (2, 1.0)


def test_one_bit_anywhere_is_noticed(file, capsys):
    whole = file.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        file.write_bytes(content)
        refused(file, capsys)
        shutil.rmtree(file.parent.parent / "aside")


@pytest.mark.parametrize("harm", ["empty", "cut", "longer", "renamed", "no metadata", "foreign", "too large"])
def test_another_content_is_refused(file, capsys, harm):
    whole = file.read_bytes()
    if harm == "foreign":
        file = file.rename(file.with_name("train-cc-bb.safetensors"))
    elif harm == "renamed":
        file.write_bytes(whole.replace(b"nets/0.weight", b"nets/9.weight"))
    elif harm == "no metadata":
        save_file(load_file(file), file)
    elif harm == "too large":
        with file.open("r+b") as stream:
            stream.truncate(2**40)
    else:
        file.write_bytes({"empty": b"", "cut": whole[:-9], "longer": whole + b"\0"}[harm])
    refused(file, capsys)


def test_a_net_of_another_shape_is_refused(file, capsys):
    refused(file, capsys, width=5)


@pytest.mark.parametrize("harm", ["folder", "link", "loop", "fifo"])
def test_what_is_no_file_is_moved_away_unopened(file, capsys, tmp_path, harm):
    elsewhere = file.rename(tmp_path / file.name)
    if harm == "folder":
        file.mkdir()
        (file / "notes").write_text("mine")
    elif harm == "fifo":
        os.mkfifo(file)
    else:
        file.symlink_to(elsewhere if harm == "link" else file)
    before = elsewhere.read_bytes()
    refused(file, capsys)
    assert elsewhere.read_bytes() == before
