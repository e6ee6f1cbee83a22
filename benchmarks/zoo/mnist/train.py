"""Train one of the four networks, seeded and on one thread, and export it to ONNX.

``python -m benchmarks.zoo.mnist.train small benchmarks/zoo/mnist/small.onnx`` makes a committed file again;
with another PyTorch or processor the weights differ in their last digits. AdamW under a one-cycle schedule,
batches of 64, images shifted by up to 2 pixels. BatchNormalization stays a node of its own.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

from benchmarks.zoo.mnist.digits import Digits, digits
from benchmarks.zoo.mnist.networks import network

EPOCHS = {"cnn": 8, "small": 12, "mlp": 12, "lstm": 24}
BATCH, RATE, DECAY, SHIFT, SEED, OPSET = 64, 2e-3, 1e-3, 2, 7, 17


def train(name: str, path: Path, data: Digits) -> None:
    """Train the network on ``data`` and write it to ``path``: ``x [N, 1, 28, 28]`` -> ``logits [N, 10]``."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    net = network(name)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    steps = EPOCHS[name] * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS[name]):
        for batch in torch.randperm(len(images)).split(BATCH):
            down, right = (int(n) for n in torch.randint(-SHIFT, SHIFT + 1, (2,)))
            moved = torch.roll(images[batch], (down, right), (2, 3))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(moved), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    _export(net.eval(), path)


def _export(net: torch.nn.Module, path: Path) -> None:
    axes = {"x": {0: "N"}, "logits": {0: "N"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            net,
            (torch.zeros(2, 1, 28, 28),),
            str(path),
            input_names=["x"],
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]), digits()[0])
