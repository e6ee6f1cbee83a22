"""The build file as data: which models, by which recipes, for which targets.

These models are the whole format; ``recipes/build.schema.json`` is generated from them. Reading YAML is in
``read_build_file``, and what comes of it in ``make_jobs``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

OUT = "{model}/{recipe}/{target}"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Pattern = Annotated[str, Field(min_length=1)]
Sets = dict[str, JsonValue]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelEntry(_Section):
    """Models and what is special about them."""

    path: Pattern = Field(description="An ONNX file, or a pattern with *, ? and **; relative to the build file.")
    calibration: str | None = Field(None, description="Samples for these models: .npz, .csv or a folder.")
    evaluation: str | None = Field(None, description="Labelled samples for these models: .npz, .csv or a folder.")
    set: Sets = Field(default_factory=dict, description="Overrides of every recipe for these models, path: value.")


class RecipeEntry(_Section):
    """A recipe and what is changed in it."""

    recipe: str = Field(min_length=1, description="A shipped recipe, or a path relative to the build file.")
    name: str | None = Field(None, pattern=NAME, max_length=100, description="What {recipe} stands for in 'out'.")
    set: Sets = Field(default_factory=dict, description="Overrides, path: value, as with --set.")


class Exclusion(_Section):
    """What is left out: the jobs that match all that is given, with the wildcards * and ?."""

    model: Pattern | None = Field(None, description="Name of the model file without .onnx.")
    recipe: Pattern | None = Field(None, description="Name of the recipe.")
    target: Pattern | None = Field(None, description="Name of the target.")


class BuildFile(_Section):
    """Every model by every recipe for every target, each a bundle."""

    version: Literal[1] = Field(description="Version of the build format.")
    include: tuple[Pattern, ...] = Field((), description="Other build files, relative to this one; built as well.")
    models: tuple[ModelEntry, ...] = Field((), description="Models; the last entry that matches one wins.")
    recipes: tuple[RecipeEntry, ...] = Field((), description="Recipes, by name or path.")
    targets: tuple[JsonValue, ...] | None = Field(
        None, description="Machines, as in a recipe; by default those of each recipe."
    )
    exclude: tuple[Exclusion, ...] = Field((), description="Combinations to leave out.")
    set: Sets = Field(default_factory=dict, description="Overrides of every recipe, path: value.")
    out: str = Field(
        OUT,
        min_length=1,
        description="Where each bundle goes below the output folder; {model}, {recipe}, {target} and {folder} (of the "
        "model, relative to the build file) are filled in. Ends in .zip for one file a bundle.",
    )
