"""What was measured is found again, for the same workload on the same target only."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from tamis.compiler.errors import TuningError
from tamis.compiler.tuning_database import STATISTICS, TuningDatabase, fingerprint_digest, remove_database

HERE = {"cpu": "a", "onnxruntime": "1.32.0"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tuning.sqlite"


def test_a_record_is_found_by_its_whole_key_only(path: Path) -> None:
    with TuningDatabase(path) as database:
        database.put("guard", "w1", HERE, {"verdict": "faster"}, {"speedup": 1.2})
    with TuningDatabase(path) as database:
        found = database.get("guard", "w1", HERE)
        assert found is not None
        assert found.value == {"verdict": "faster"}
        assert found.measurements == {"speedup": 1.2}
        assert database.get("guard", "w2", HERE) is None
        assert database.get("other", "w1", HERE) is None
        assert database.get("guard", "w1", HERE | {"onnxruntime": "1.33.0"}) is None


def test_the_order_of_a_fingerprint_does_not_matter() -> None:
    assert fingerprint_digest(HERE) == fingerprint_digest(dict(reversed(HERE.items())))


def test_the_newest_record_counts(path: Path) -> None:
    with TuningDatabase(path) as database:
        for verdict in ("slower", "faster"):
            database.put("guard", "w", HERE, {"verdict": verdict}, {})
        found = database.get("guard", "w", HERE)
        assert found is not None
        assert found.value == {"verdict": "faster"}
        assert len(list(database.items())) == 1


def test_export_and_import(path: Path, tmp_path: Path) -> None:
    with TuningDatabase(path) as database:
        for i in range(3):
            database.put("guard", f"w{i}", HERE, {"i": i}, {})
        assert database.export_to(tmp_path / "records.jsonl") == 3
    with TuningDatabase(tmp_path / "other.sqlite") as other:
        other.put("guard", "w1", HERE, {"i": 99}, {})
        assert other.import_from(tmp_path / "records.jsonl") == 2
        kept = other.get("guard", "w1", HERE)
        assert kept is not None
        assert kept.value == {"i": 99}
        assert other.import_from(tmp_path / "records.jsonl") == 0


@pytest.mark.parametrize("damage", ["{", "[]", '{"kind": "guard"}', "digest"])
def test_a_damaged_line_adds_nothing(path: Path, tmp_path: Path, damage: str) -> None:
    with TuningDatabase(path) as database:
        database.put("guard", "w0", HERE, {}, {})
        database.export_to(tmp_path / "records.jsonl")
        good = (tmp_path / "records.jsonl").read_text()
        bad = good.replace('"cpu": "a"', '"cpu": "b"') if damage == "digest" else damage + "\n"
        (tmp_path / "records.jsonl").write_text(good.replace("w0", "w1") + bad)
        with pytest.raises(TuningError, match=r"records.jsonl:2"):
            database.import_from(tmp_path / "records.jsonl")
        assert len(list(database.items())) == 1


def test_a_damaged_file_is_an_error_and_can_be_removed(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(TuningError, match="tamis cache clear"):
        TuningDatabase(path)
    assert path.exists()
    statistics = path.with_name(STATISTICS)
    statistics.mkdir()
    (statistics / "some.npz").write_bytes(b"")
    (path.with_name("other")).mkdir()
    remove_database(path)
    assert not statistics.exists() and path.with_name("other").exists()
    with TuningDatabase(path) as database:
        assert list(database.items()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TuningError, match="TAMIS_CACHE_DIR"):
        TuningDatabase(tmp_path / "file" / "tuning.sqlite")


def test_two_processes_write_at_once(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tamis.compiler.tuning_database import TuningDatabase\n"
        "with TuningDatabase(Path(sys.argv[1])) as d:\n"
        "    for i in range(50): d.put('guard', f'{sys.argv[2]}-{i}', {'cpu': 'a'}, {}, {})\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), name], env=_environment()) for name in "ab"]
    assert [p.wait(60) for p in both] == [0, 0]
    with TuningDatabase(path) as database:
        assert len(list(database.items())) == 100


def _environment() -> dict[str, str]:
    import os

    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root / "src")}


@pytest.mark.parametrize(
    ("here", "imported", "kept"), [(5.0, 4.0, 4.0), (4.0, 5.0, 4.0), (None, 4.0, None), (4.0, None, 4.0)]
)
def test_an_import_keeps_the_better_of_two_records(
    here: float | None, imported: float | None, kept: float | None, path: Path, tmp_path: Path
) -> None:
    with TuningDatabase(path) as database:
        database.put("schedule", "w", HERE, {"cost": imported}, {"cost": imported})
        database.export_to(tmp_path / "records.jsonl")
    with TuningDatabase(tmp_path / "other.sqlite") as other:
        other.put("schedule", "w", HERE, {"cost": here}, {"cost": here})
        assert other.import_from(tmp_path / "records.jsonl") == (kept != here)
        found = other.get("schedule", "w", HERE)
        assert found is not None and found.value == {"cost": kept}


def test_a_failed_import_of_better_records_replaces_nothing(path: Path, tmp_path: Path) -> None:
    with TuningDatabase(path) as database:
        database.put("schedule", "w", HERE, {}, {"cost": 1.0})
        database.export_to(tmp_path / "records.jsonl")
        database.put("schedule", "w", HERE, {}, {"cost": 2.0})
        (tmp_path / "records.jsonl").write_text((tmp_path / "records.jsonl").read_text() + "{}\n")
        with pytest.raises(TuningError):
            database.import_from(tmp_path / "records.jsonl")
        assert [r.measurements for r in database.items()] == [{"cost": 2.0}]


def test_an_update_sees_what_is_stored(path: Path) -> None:
    with TuningDatabase(path) as one, TuningDatabase(path) as two:
        for database in (one, two, one):
            database.update(
                "count", "w", HERE, lambda old: ({"n": 1 if old is None else old.measurements["n"] + 1}, {"n": 1})
            )
        found = two.get("count", "w", HERE)
    assert found is not None and found.value == {"n": 2}


def test_the_first_of_two_that_measure_at_once_decides(path: Path) -> None:
    with TuningDatabase(path) as ours, TuningDatabase(path) as theirs:

        def measure() -> tuple[dict[str, str], dict[str, float]]:
            theirs.put("guard", "w", HERE, {"verdict": "slower"}, {"speedup": 0.9})
            return {"verdict": "faster"}, {"speedup": 1.2}

        for _ in range(2):
            record, known = ours.decide("guard", "w", HERE, measure)
            assert (record.value, record.measurements, known) == ({"verdict": "slower"}, {"speedup": 0.9}, True)
        record, known = ours.decide("guard", "v", HERE, lambda: ({"verdict": "faster"}, {}))
        assert (record.value, known) == ({"verdict": "faster"}, False)


def test_an_update_that_fails_changes_nothing(path: Path) -> None:
    with TuningDatabase(path) as database:
        database.put("count", "w", HERE, {"n": 1}, {})
        with pytest.raises(ZeroDivisionError):
            database.update("count", "w", HERE, lambda old: ({"n": 1 // 0}, {}))
        database.put("count", "v", HERE, {"n": 2}, {})
        assert [r.value for r in database.items()] == [{"n": 2}, {"n": 1}]


def test_records_of_one_target_and_kind(path: Path) -> None:
    with TuningDatabase(path) as database:
        for kind, workload, target in (
            ("a", "w2", HERE),
            ("a", "w1", HERE),
            ("b", "w1", HERE),
            ("a", "w1", {"cpu": "b"}),
        ):
            database.put(kind, workload, target, {}, {})
        assert [r.workload for r in database.matching("a", HERE)] == ["w1", "w2"]


def test_the_digest_of_what_was_tuned(path: Path) -> None:
    """Settings and what has a cost count, in any order; other measurements do not, whatever figures are in them."""
    with TuningDatabase(path) as database:
        empty = database.tuned_digest()
        database.put("guard", "w", HERE, {"verdict": "faster"}, {"speedup": 1.2})
        database.put("kernel", "w", HERE, {}, {"cost": None})
        assert database.tuned_digest() == empty
        seen = {empty}
        for kind, value, measurements in (
            ("tvm-settings", {"layout": "a"}, {}),
            ("tvm-settings", {"layout": "b"}, {}),
            ("kernel", {"trace": "a"}, {"cost": 3.5}),
            ("kernel", {"trace": "b"}, {"cost": 2.5, "others": [math.inf]}),
        ):
            database.put(kind, "w", HERE, value, measurements)
            assert database.tuned_digest() not in seen
            seen.add(database.tuned_digest())
