"""Twenty labelled ImageNet validation photos out of ``foolbox==3.3.4`` (MIT), as ``PIL`` images.

Their class stands at the end of the file name. One digest pins all of them: see ``Package.group``.
"""

from __future__ import annotations

from PIL import Image

from benchmarks.zoo.fetch import Package

FOOLBOX = Package("pypi", "foolbox", "3.3.4")
CLASSES = (243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305)
DIGEST = "cdbcbd79e0ae11d487e82be06d9c349d00b8790e11be38b694d0216c4fd04d79"


def photos() -> list[tuple[Image.Image, int]]:
    """Each photo in RGB with its ImageNet-1k class index.

    Raises:
        FetchError: The package cannot be had.
    """
    members = [f"foolbox/data/imagenet_{i:02d}_{label}.jpg" for i, label in enumerate(CLASSES)]
    paths = FOOLBOX.group(members, DIGEST)
    return [(Image.open(paths[m]).convert("RGB"), label) for m, label in zip(members, CLASSES, strict=True)]
