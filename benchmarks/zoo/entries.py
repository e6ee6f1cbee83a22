"""The table of the zoo: name -> module with the entry, imported when asked for."""

from __future__ import annotations

import importlib

from benchmarks.zoo.entry import ZooEntry

MODULES = {
    "ppocr-rec": "ppocr_rec",
    "ppocr-det": "ppocr_det",
    "ppocr-cls": "ppocr_cls",
    "efficientnet-lite0": "efficientnet_lite0",
    "minilm": "minilm",
    "silero-vad": "silero_vad",
    "silero-vad-if": "silero_vad",
    "magika": "magika",
    "basic-pitch": "basic_pitch",
    "crepe-tiny": "crepe",
    "mnist-small": "mnist.entries",
    "mnist-lstm": "mnist.entries",
    "mnist-cnn": "mnist.entries",
    "mnist-mlp": "mnist.entries",
}


def entry(name: str) -> ZooEntry:
    """The entry of that name.

    Raises:
        KeyError: There is none; the message lists those that exist.
    """
    if name not in MODULES:
        raise KeyError(f"no zoo entry {name!r}; there are {', '.join(MODULES)}")
    module = importlib.import_module(f"benchmarks.zoo.{MODULES[name]}")
    found: ZooEntry = next(e for e in getattr(module, "ENTRIES", None) or (module.ENTRY,) if e.name == name)
    return found
