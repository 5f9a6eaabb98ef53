"""Which pictures a network has seen: packed, unpacked, and judged by as before."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from cleanplate.evaluation.cells import training_pictures
from cleanplate.network.fingerprints import joined, pack, unpack
from made_models import make_run

NAMES = st.text("abcä0123_-", min_size=1, max_size=8)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@given(st.dictionaries(NAMES, NAMES | st.just("a/0001"), max_size=5), st.sampled_from(["plates", "cutouts", "pairs"]))
def test_packing_keeps_digests_and_groups(groups: dict[str, str], kind: str) -> None:
    facts = {f"{name}.png": {"sha256": digest(name), "group": group} for name, group in groups.items()}
    packed = pack({kind: {"train": facts, "test": facts}})
    assert set(packed[kind]) == {"train"}
    found = unpack(json.loads(json.dumps(packed)))[kind]["train"]
    assert {fact["sha256"] for fact in found.values()} == {digest(name) for name in groups}
    told = {(fact["sha256"], fact["group"]) for name, fact in found.items() if fact["group"] != name}
    assert told == {(digest(n), g) for n, g in groups.items() if g != n}
    assert pack(packed) == packed


def test_names_are_gone_and_pictures_known_again(tmp_path) -> None:
    run = make_run(tmp_path)
    packed = pack(run.meta["pictures"])
    text = json.dumps(packed)
    assert "plate0" not in text
    assert len(text) < len(json.dumps(run.meta["pictures"])) / 2
    for library in (run.plates, run.cutouts):
        before = training_pictures(run.meta, library)
        assert len(before) == 3
        assert training_pictures({"pictures": unpack(packed)}, library) == before


def test_what_the_first_weights_saw_is_seen() -> None:
    one = {"plates": {"train": {"0.jpg": {"sha256": digest("a"), "group": "0"}}, "test": {}}}
    elder = {
        "plates": {"train": {"0.jpg": {"sha256": digest("b"), "group": "0"}}},
        "pairs": {"validation": {"hall": {"sha256": digest("c"), "group": "hall"}}},
    }
    both = joined(one, elder)
    assert {fact["sha256"] for fact in both["plates"]["train"].values()} == {digest("a"), digest("b")}
    assert [fact["sha256"] for fact in both["pairs"]["validation"].values()] == [digest("c")]
    assert both["plates"]["train"]["0.jpg"] == one["plates"]["train"]["0.jpg"]
    own_names = [name for name, fact in both["plates"]["train"].items() if fact["group"] == "0"]
    assert own_names == ["0.jpg"], "a file's bare name ties no pictures of two folders together"
    assert joined(one, {}) == one
