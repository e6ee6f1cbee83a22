"""Loading recipes: short forms, defaults, ``extends``, and every way to be wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tamis.compiler.errors import RecipeError, RegistryError, UsageError
from tamis.compiler.recipe_file import MAX_EXTENDS, dump_recipe, load_recipe, resolved
from tamis.compiler.recipe_yaml import MAX_BYTES
from tests.toy_registry import options, toys, write

__all__ = ["toys"]

pytestmark = pytest.mark.usefixtures("toys")

GOOD = """\
version: 1
model: m.onnx
inputs:
  x: {shape: [N, 3, 48, 320], N: [1, 8], range: [0, 10]}
  y: {shape: [N]}
data:
  calibration: {npz: c.npz, samples: 4}
  evaluation: {csv: e.csv, metric: accuracy, mean: [1, 2, 3]}
passes:
  - canonicalize
  - fold-conv-affine:
  - quantize-dynamic: {weights: uint8, guard: off}
targets:
  - host
  - {machine: cortex-a72, runtime: onnxruntime, options: {threads: 2}, tune: {seconds: 20}}
  - machine: host
    name: small
    passes: [canonicalize]
budget:
  accuracy: {max_drop: 1e-2}
"""


def test_short_forms_are_written_out_and_defaults_filled_in(tmp_path: Path) -> None:
    loaded = load_recipe(write(tmp_path, "r.yaml", GOOD))
    recipe = loaded.recipe
    assert (loaded.folder, loaded.origin) == (tmp_path, str(tmp_path / "r.yaml"))
    assert recipe.inputs["x"].shape == ("N", 3, 48, 320)
    assert recipe.inputs["x"].dims == {"N": (1, 8)}
    assert recipe.inputs["x"].range == (0, 10)
    common = {"on_violation": "error", "guard": "measure"}
    assert [(s.name, s.options) for s in recipe.passes] == [
        ("canonicalize", common),
        ("fold-conv-affine", common),
        ("quantize-dynamic", options(weights="uint8", guard="off")),
    ]
    assert [s.where for s in recipe.passes] == [f"{tmp_path / 'r.yaml'}:{at}" for at in ("10:5", "11:5", "12:5")]
    assert [t.label for t in recipe.targets] == ["host", "cortex-a72-onnxruntime", "small"]
    assert recipe.targets[1].options == {"threads": 2}
    assert recipe.targets[1].tune is not None
    assert recipe.targets[2].passes is not None
    assert recipe.budget.accuracy is not None
    assert recipe.budget.accuracy.max_drop == 0.01
    assert recipe.seed == 0


def test_the_resolved_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "r.yaml", GOOD)).recipe
    again = load_recipe(write(tmp_path, "again.yaml", dump_recipe(recipe))).recipe
    assert again == recipe
    assert again.passes[0].where != recipe.passes[0].where
    assert list(resolved(recipe)) == ["version", "model", "inputs", "data", "passes", "targets", "budget", "seed"]


def test_a_changed_option_makes_another_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, "r.yaml", GOOD)
    other = load_recipe(path, sets=["passes.quantize-dynamic.ratio=0.25"]).recipe
    assert other != load_recipe(path).recipe


def test_null_means_not_given_but_is_a_value_of_an_option(tmp_path: Path) -> None:
    text = "version: 1\ndata:\nbudget: {size:}\npasses: [quantize-dynamic: {note: null}]\n"
    recipe = load_recipe(write(tmp_path, "r.yaml", text)).recipe
    assert recipe.data.calibration is None
    assert recipe.passes[0].options == options(note=None)
    assert load_recipe(write(tmp_path, "again.yaml", dump_recipe(recipe))).recipe == recipe


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbfversion: 1\r\npasses:\r\n  - canonicalize\r\n")
    assert [s.name for s in load_recipe(tmp_path / "r.yaml").recipe.passes] == ["canonicalize"]


def test_a_shipped_recipe_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").touch()
    loaded = load_recipe("lossless", model=Path("m.onnx"))
    assert (loaded.folder, loaded.origin, loaded.recipe.model) == (Path(), "lossless", "m.onnx")
    assert loaded.recipe.passes[0].where.startswith("lossless.yaml:")


def test_a_given_model_is_relative_to_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", "r.yaml", GOOD)
    assert load_recipe("sub/r.yaml", model=Path("other.onnx")).recipe.model == "../other.onnx"
    assert load_recipe("sub/r.yaml", model=tmp_path / "o.onnx").recipe.model == str(tmp_path / "o.onnx")


def test_extends_merges_mappings_and_replaces_lists(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "b.yaml", GOOD)
    text = """\
        version: 1
        extends: base/b.yaml
        inputs:
          x: {shape: [1, 3, 32, 320]}
          y: {shape: [1]}
        data: {evaluation: {npz: mine.npz}}
        passes: [canonicalize]
        budget: {accuracy: null, size: {max_mb: 3}}
        """
    recipe = load_recipe(write(tmp_path, "r.yaml", re.sub("^ {8}", "", text, flags=re.MULTILINE))).recipe
    assert recipe.inputs["x"].dims == {}
    assert recipe.inputs["x"].range == (0, 10)
    assert recipe.model == "base/m.onnx"
    assert recipe.data.calibration is not None
    assert (recipe.data.calibration.npz, recipe.data.calibration.samples) == ("base/c.npz", 4)
    assert recipe.data.evaluation is not None
    assert (recipe.data.evaluation.npz, recipe.data.evaluation.csv) == ("mine.npz", None)
    assert recipe.data.evaluation.metric == "accuracy"
    assert [s.name for s in recipe.passes] == ["canonicalize"]
    assert len(recipe.targets) == 3
    assert recipe.budget.accuracy is None
    assert recipe.budget.size is not None


def test_extends_a_shipped_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, "r.yaml", "version: 1\nextends: lossless\nmodel: m.onnx\n")
    recipe = load_recipe(path).recipe
    assert (recipe.model, [s.name for s in recipe.passes]) == ("m.onnx", ["canonicalize", "fold-conv-affine"])


def test_a_circle_of_extends_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "version: 1\nextends: b.yaml\n")
    write(tmp_path, "b.yaml", "version: 1\nextends: ./a.yaml\n")
    with pytest.raises(
        RecipeError, match=r"b\.yaml:2:10: recipes extend each other in a circle; found a\.yaml -> b\.yaml -> a\.yaml;"
    ):
        load_recipe(tmp_path / "a.yaml")


def test_a_long_chain_of_extends_is_refused(tmp_path: Path) -> None:
    for i in range(MAX_EXTENDS + 1):
        write(tmp_path, f"r{i}.yaml", f"version: 1\nextends: r{i + 1}.yaml\n")
    write(tmp_path, f"r{MAX_EXTENDS + 1}.yaml", "version: 1\npasses: []\n")
    assert load_recipe(tmp_path / "r2.yaml").recipe.passes == ()
    with pytest.raises(RecipeError, match=r"r9\.yaml:2:10: too many recipes extended"):
        load_recipe(tmp_path / "r0.yaml")


HEAD = "version: 1\npasses: [canonicalize]\n"
BAD = {
    "unknown top key": (HEAD + "bugdet: {}\n", "3:1", "unknown key 'bugdet' in the recipe (did you mean 'budget'?)"),
    "misspelt extends": (HEAD + "extend: lossless\n", "3:1", "did you mean 'extends'?"),
    "misspelt passes": (
        "version: 1\npases: []\n",
        "2:1",
        "'pases' in the recipe (did you mean 'passes'?) (and 1 more problem)",
    ),
    "no version": ("passes: []\n", "1:1", "version is missing; begin the recipe with 'version: 1'"),
    "other version": ("version: 2\n", "1:10", "expected 1, found the number 2"),
    "text version": ("version: '1'\n", "1:10", "expected 1, found the text '1'"),
    "true version": ("version: true\n", "1:10", "expected 1, found true"),
    "no passes": ("version: 1\n", "1:1", "passes is missing; add 'passes'"),
    "passes a mapping": ("version: 1\npasses:\n  canonicalize:\n", "3:3", "begin each step with '- '"),
    "passes a text": ("version: 1\npasses: canonicalize\n", "2:9", "expected a list, found the text 'canonicalize'"),
    "step a number": (
        "version: 1\npasses: [1]\n",
        "2:10",
        "this is not a step; expected NAME or NAME: {option: value}",
    ),
    "step null": ("version: 1\npasses:\n  -\n", "3:4", "this is not a step"),
    "options beside the name": (
        "version: 1\npasses:\n  - quantize-dynamic:\n    weights: int8\n",
        "3:5",
        "indent options further than the name",
    ),
    "options a list": (
        "version: 1\npasses: [canonicalize: [1]]\n",
        "2:24",
        "expected a mapping (key: value), found [1]",
    ),
    "unknown option": (
        "version: 1\npasses:\n  - quantize-dynamic: {wieghts: int8}\n",
        "3:24",
        "unknown key 'wieghts' in passes.quantize-dynamic (did you mean 'weights'?); expected one of on_violation, guard",
    ),
    "option of another type": (
        "version: 1\npasses:\n  - quantize-dynamic: {ratio: half}\n",
        "3:31",
        "bad value for passes.quantize-dynamic.ratio; expected a number, found the text 'half'",
    ),
    "number for a switch": (
        "version: 1\npasses:\n  - quantize-dynamic: {symmetric: 1}\n",
        "3:35",
        "expected true or false, found the number 1",
    ),
    "switch for a number": (
        "version: 1\npasses: [quantize-dynamic: {ratio: true}]\n",
        "2:36",
        "expected a number, found true",
    ),
    "option out of bounds": ("version: 1\npasses: [quantize-dynamic: {ratio: 1.5}]\n", "2:36", "expected at most 1"),
    "option not of the choices": (
        "version: 1\npasses: [quantize-dynamic: {weights: int4}]\n",
        "2:38",
        "expected 'int8' or 'uint8', found the text 'int4'",
    ),
    "item of an option": (
        "version: 1\npasses: [quantize-dynamic: {channels: [1, a]}]\n",
        "2:43",
        "quantize-dynamic.channels.item 2",
    ),
    "unknown input key": (HEAD + "inputs: {x: {shpe: [1]}}\n", "3:14", "'shpe' in inputs.x (did you mean 'shape'?)"),
    "range of no dimension": (
        HEAD + "inputs: {x: {shape: [N], N: [1, 2], M: [1, 2]}}\n",
        "3:37",
        "unknown key 'M' in inputs.x; expected one of shape, range, N",
    ),
    "dimension without range": (
        HEAD + "inputs: {x: {shape: [1, N]}}\n",
        "3:25",
        "dimension 'N' of inputs.x has no range",
    ),
    "two ranges": (
        HEAD + "inputs: {x: {shape: [N], N: [1, 2]}, y: {shape: [N], N: [1, 3]}}\n",
        "3:57",
        "the dimension 'N' has two ranges; found [1, 2] and [1, 3]",
    ),
    "no shape": (HEAD + "inputs: {x: {range: [0, 1]}}\n", "3:13", "inputs.x.shape is missing"),
    "input a list": (HEAD + "inputs: {x: [1, 3]}\n", "3:13", "bad value for inputs.x; expected a mapping"),
    "zero dimension": (HEAD + "inputs: {x: {shape: [1, 0]}}\n", "3:25", "a size of at least 1, or a name"),
    "negative dimension": (HEAD + "inputs: {x: {shape: [-1]}}\n", "3:22", "found the number -1"),
    "fractional dimension": (HEAD + "inputs: {x: {shape: [1.5]}}\n", "3:22", "found the number 1.5"),
    "true dimension": (HEAD + "inputs: {x: {shape: [true]}}\n", "3:22", "found true"),
    "huge dimension": (HEAD + "inputs: {x: {shape: [3000000000]}}\n", "3:22", "found the number 3000000000"),
    "dimension called range": (HEAD + "inputs: {x: {shape: [range]}}\n", "3:22", "other than 'shape' and 'range'"),
    "dimension with a blank": (HEAD + "inputs: {x: {shape: [a b]}}\n", "3:22", "found the text 'a b'"),
    "range upside down": (
        HEAD + "inputs: {x: {shape: [1], range: [2, 1]}}\n",
        "3:33",
        "bad value for inputs.x.range; expected the smallest value first, then the largest, found [2, 1]",
    ),
    "range of one": (
        HEAD + "inputs: {x: {shape: [1], range: [2]}}\n",
        "3:33",
        "expected a list of more items, found [2]",
    ),
    "range of three": (HEAD + "inputs: {x: {shape: [1], range: [1, 2, 3]}}\n", "3:33", "expected at most 2 items"),
    "sizes upside down": (HEAD + "inputs: {x: {shape: [N], N: [8, 1]}}\n", "3:29", "the smallest value first"),
    "size of zero": (
        HEAD + "inputs: {x: {shape: [N], N: [0, 1]}}\n",
        "3:30",
        "expected at least 1, found the number 0",
    ),
    "two sources": (
        HEAD + "data: {calibration: {npz: a, csv: b}}\n",
        "3:21",
        "exactly one of npz, folder, images, csv",
    ),
    "no source": (HEAD + "data: {calibration: {samples: 1}}\n", "3:21", "exactly one of npz, folder, images, csv"),
    "no samples": (HEAD + "data: {calibration: {npz: a, samples: 0}}\n", "3:39", "expected at least 1"),
    "zero scale": (HEAD + "data: {calibration: {images: a, scale: [0]}}\n", "3:41", "expected more than 0"),
    "unknown data": (HEAD + "data: {calib: {npz: a}}\n", "3:8", "'calib' in data (did you mean 'calibration'?)"),
    "target a number": (HEAD + "targets: [1]\n", "3:11", "expected a mapping (key: value), found the number 1"),
    "no targets": (HEAD + "targets: []\n", "3:10", "expected at least 1 items"),
    "target without machine": (HEAD + "targets: [{name: a}]\n", "3:11", "targets.a.machine is missing"),
    "unknown target key": (HEAD + "targets: [{machine: host, tunes: {}}]\n", "3:27", "did you mean 'tune'?"),
    "internal target key": (HEAD + "targets: [{machine: host, where: a}]\n", "3:27", "unknown key 'where'"),
    "unknown tune key": (HEAD + "targets: [{machine: host, tune: {secs: 1}}]\n", "3:34", "'secs' in targets.host.tune"),
    "twice the same target": (
        HEAD + "targets: [host, host]\n",
        "3:11",
        "two targets are called 'host'; give one of them",
    ),
    "name not a folder": (HEAD + "targets: [{machine: host, name: ../a}]\n", "3:33", "found the text '../a'"),
    "unknown option of the preferred runtime": (
        HEAD + "targets: [{machine: host, options: {thread: 1}}]\n",
        "3:37",
        "'thread' in targets.host.options (did you mean 'threads'?); expected threads",
    ),
    "unknown runtime option": (
        HEAD + "targets: [{machine: host, runtime: onnxruntime, options: {thread: 1}}]\n",
        "3:59",
        "'thread' in targets.host-onnxruntime.options (did you mean 'threads'?); expected threads",
    ),
    "step of a target": (HEAD + "targets: [{machine: host, passes: [3]}]\n", "3:36", "this is not a step"),
    "budget of text": (
        HEAD + "budget: {size: {max_mb: small}}\n",
        "3:25",
        "bad value for budget.size.max_mb; expected a number",
    ),
    "negative budget": (
        HEAD + "budget: {accuracy: {max_drop: -0.1}}\n",
        "3:31",
        "expected at least 0, found the number -0.1",
    ),
    "percentile": (HEAD + "budget: {latency: {max_ms: 1, p: 100}}\n", "3:34", "expected less than 100"),
    "two problems": (HEAD + "seed: -1\nmodel: 3\n", "4:8", "bad value for model (and 1 more problem); expected text"),
    "extends a list": (HEAD + "extends: [a]\n", "3:10", "bad value for extends; expected a shipped recipe or a path"),
    "extends nothing there": (HEAD + "extends: a/b.yaml\n", "3:10", "there is no such recipe file; found nothing at"),
    "extends a folder": (HEAD + "extends: .\n", "3:10", "this is not a file"),
    "not YAML": ("version: [\n", "2:1", "this is not valid YAML"),
}
UNKNOWN = {
    "pass": (
        "version: 1\npasses: [canonicalise]\n",
        "2:10",
        "there is no pass 'canonicalise' (did you mean 'canonicalize'?)",
    ),
    "pass of a target": (
        HEAD + "targets: [{machine: host, passes: [a]}]\n",
        "3:36",
        "there is no pass 'a'; expected one of",
    ),
    "machine": (
        HEAD + "targets: [cortex-a73]\n",
        "3:11",
        "there is no machine 'cortex-a73' (did you mean 'cortex-a72'?)",
    ),
    "runtime": (HEAD + "targets: [{machine: host, runtime: onnx}]\n", "3:36", "there is no runtime 'onnx'"),
    "metric": (
        HEAD + "data: {evaluation: {npz: a, metric: acuracy}}\n",
        "3:37",
        "metric 'acuracy' (did you mean 'accuracy'?)",
    ),
    "data set": (
        HEAD + "data: {evaluation: {dataset: a}}\n",
        "3:30",
        "there is no data set 'a'; expected an installed plug-in",
    ),
    "recipe": (HEAD + "extends: losless\n", "3:10", "there is no recipe 'losless' (did you mean 'lossless'?)"),
}


@pytest.mark.parametrize("case", [*BAD, *UNKNOWN])
def test_a_wrong_recipe_is_refused_at_its_place(case: str, tmp_path: Path) -> None:
    text, place, message = {**BAD, **UNKNOWN}[case]
    path = write(tmp_path, "r.yaml", text)
    with pytest.raises(RecipeError if case in BAD else RegistryError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}:{place}: ")
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version: 1\npasses: [\xff]\n", "r.yaml:2:10: the file is not UTF-8 text; found byte 0xff"),
        (b"\x08\x03\x12\x07onnx\x81", "the file is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), "the file is too large"),
        (b"", "the recipe is empty"),
    ],
)
def test_a_file_that_is_no_text(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(data)
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("losless", "there is no recipe 'losless' (did you mean 'lossless'?)"),
        ("", "this is not a file"),
        ("absent.yaml", "absent.yaml: there is no such recipe file"),
        ("absent/lossless", "there is no such recipe file"),
        (Path("lossless"), "there is no such recipe file"),
        (Path("/dev/null"), "this is not a file"),
    ],
)
def test_a_source_that_is_no_recipe(
    source: str | Path, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(message)):
        load_recipe(source)
