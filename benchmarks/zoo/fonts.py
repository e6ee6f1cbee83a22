"""Five type families (21 faces, sans and serif, regular to bold, upright and italic) out of PyPI wheels.

Lato, Manrope, Source Sans Pro and Source Serif Pro are under the SIL Open Font License 1.1, Caladea is
under Apache-2.0. They are read where they lie and never redistributed.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.zoo.fetch import Package

# package, path of a face inside its wheel, face -> SHA-256
FAMILIES: tuple[tuple[Package, str, dict[str, str]], ...] = (
    (
        Package("pypi", "font-lato", "0.1.0"),
        "font_lato/files/Lato-{}.ttf",
        {
            "Black": "abf64cfa14645043a7c33f76435125f8b3de79c510adb938a1c16085518d4341",
            "Bold": "d7f0b7f2570f2f28b504da1181b4d71b1420b10be2c4fd690927f1c8ee3b19c3",
            "BoldItalic": "e38611f4c0ff3251a58fe751991c39784d8f9be420b004891e0b9277228ec32f",
            "Italic": "3be26bf6973f49df6a7dfd130041017354342bfbb023e6b9610b42daeba6de34",
            "Regular": "e82542aed8293f49fc83c4aaea566b1f6b4fc7a9ab5da11e6fb9bc0973b5324b",
        },
    ),
    (
        Package("pypi", "font-manrope", "0.0.2"),
        "font_manrope/files/Manrope-{}.ttf",
        {
            "Bold": "8452aa3443b61a9b007e2dc59b6ed16a40d453c77a4181645e581a0a899c9c5d",
            "Medium": "0b773002799663fa57a5b80c7256e9f3e9b8b62d7d55f07640db345089af9a8b",
            "Regular": "1e390629ba046af367b66221ffc1b88dcb83e437b5950e4c85a702c9f7628348",
        },
    ),
    (
        Package("pypi", "font-caladea", "0.0.2"),
        "font_caladea/files/Caladea-{}.ttf",
        {
            "Bold": "74eda4fc5ffba0d8dc4aa76d41499f5ab76168d9ed6141c6417064c6244db9b6",
            "BoldItalic": "f47a35ad6cd0efa9914d93f9d03c93e30c55da43674bccfabac73b3c0d522c01",
            "Italic": "9c968bf60ba1e851cdfea77c71e3540c57792f77482dd241acc29d1425569c4e",
            "Regular": "d2f6cad33f191e65b68bd74e6d4f7708080a41b32db635866109df3090265d91",
        },
    ),
    (
        Package("pypi", "font-source-sans-pro", "0.0.1"),
        "font_source_sans_pro/files/SourceSansPro-{}.ttf",
        {
            "Bold": "2efc3a95d076f2d04c5928c0ad698b7c61cc302d6f6e79e9643cd3722f7becc2",
            "It": "36133e9f508b0b4c639e84b2a09855350be0b13700ad729ab519aa78e5c48d20",
            "Light": "8d9cd89e3cdbcc08f95fea442b3ce366958ba30104d678e9604126e5fd2565d8",
            "Regular": "b77f3a700edd0fc0dec73258f882d5c3926c77f5caf6800a201d2166568d2309",
            "SemiboldIt": "e7687a5558387aa42c340012f24adc6d447f43cfaf3974e75fd91fff6451fe79",
        },
    ),
    (
        Package("pypi", "font-source-serif-pro", "0.0.1"),
        "font_source_serif_pro/files/SourceSerifPro-{}.ttf",
        {
            "Bold": "78041207a9c5166a82d41676d4c87f4c5ba4e1c13ac654e6e9e3538a5a0b0525",
            "It": "13e315bc49bd04ef89228db5fbc793e407d76f9ffadda4e5e08894fb474736eb",
            "Regular": "b4e0771f06d8f6573a535312762b0b2f4fb9a03372239e39b0e7cf203da8ea9a",
            "SemiboldIt": "ce9ebf5f494bc17c2ec40f6cb8d80f80b5a15fa5e12559020581a7eda948cf92",
        },
    ),
)
FONT_SOURCES = ", ".join(package.spec for package, _, _ in FAMILIES)


def font_files() -> list[Path]:
    """Paths of all faces, in the order of ``FAMILIES``.

    Raises:
        FetchError: A package cannot be had.
    """
    found: list[Path] = []
    for package, template, faces in FAMILIES:
        found += package.files({template.format(face): digest for face, digest in faces.items()}).values()
    return found
