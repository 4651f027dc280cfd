"""What scores are called where people read them."""

from dataclasses import replace

from bench.report.results import Score
from bench.titles import short, title, titles

W2 = Score("wasserstein", "wasserstein", "", "lower", 1024, 2, "", "", "", False)


def test_a_score_says_root_or_square_its_extractor_and_its_size_and_no_two_are_called_the_same():
    called = {
        "wasserstein": "W2 (root)",
        "wasserstein_squared": "W2² (squared)",
        "fid[lenet64@b39b4a]": "FID (squared, lenet64)",
        "precision[pixels]": "precision (pixels)",
        "my_own": "my own",
        "odd[k=3]": "odd[k=3]",
        "kid[lenet64@111111]": "kid[lenet64@111111]",
        "kid[lenet64@222222]": "kid[lenet64@222222]",
    }
    assert titles([replace(W2, key=key, value=key) for key in called]) == called
    assert titles([replace(W2, key="mmd[n=256]", value="mmd")]) == {"mmd[n=256]": "MMD (biased, root) [n=256]"}


def test_a_sentence_calls_a_score_what_the_tables_do():
    assert title("fid[lenet64@b39b4a]") == "FID (squared, lenet64)"
    assert title("model_error") == "model error"
    assert [short(name) for name in ("wasserstein", "fid[lenet64@b39b4a]", "recall[lenet64@b39b4a]")] == [
        "W2", "FID", "recall",
    ]  # fmt: skip
