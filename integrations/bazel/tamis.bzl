"""Bundles as targets of Bazel.

    load("//:tamis.bzl", "tamis_bundle")

    tamis_bundle(
        name = "model",
        recipe = "recipe.yaml",
        srcs = ["model.onnx"],
    )

makes `model.zip`. All files that the recipe reads stand in `srcs`: Bazel shows an action nothing else.
"""

# Bazel keeps results itself, and its sandbox has no folder to write to that lasts.
_COMMAND = """
set -eu
TAMIS_CACHE_DIR=$(mktemp -d)
trap 'rm -rf "$TAMIS_CACHE_DIR"' EXIT
export TAMIS_CACHE=off TAMIS_CACHE_DIR
"$@"
"""

def _tamis_bundle_impl(ctx):
    bundle = ctx.actions.declare_file(ctx.label.name + ".zip")
    arguments = ctx.actions.args()
    arguments.add(ctx.attr.tamis)
    arguments.add("compile")
    if ctx.file.model:
        arguments.add(ctx.file.model)
        arguments.add("--recipe", ctx.file.recipe)
    else:
        arguments.add(ctx.file.recipe)
    arguments.add("--out", bundle)
    for change in ctx.attr.set:
        arguments.add("--set", change)
    if ctx.attr.machine:
        arguments.add("--target", ctx.attr.machine)
    arguments.add("--quiet")
    inputs = [ctx.file.recipe] + ctx.files.srcs
    if ctx.file.model:
        inputs.append(ctx.file.model)
    ctx.actions.run_shell(
        command = _COMMAND,
        arguments = [arguments],
        inputs = inputs,
        outputs = [bundle],
        mnemonic = "Tamis",
        progress_message = "tamis %{label}",
        use_default_shell_env = True,
        # Times are taken on the machine that builds, so results of another one are no use. Bazel may run other actions beside it:
        # for times that count, build bundles with --jobs=1.
        execution_requirements = {"no-remote": "1"},
    )
    return [DefaultInfo(files = depset([bundle]))]

tamis_bundle = rule(
    implementation = _tamis_bundle_impl,
    doc = "Compiles a model by a recipe into a bundle, one zip file.",
    attrs = {
        "recipe": attr.label(allow_single_file = [".yaml", ".yml"], mandatory = True, doc = "The recipe."),
        "model": attr.label(allow_single_file = [".onnx"], doc = "The model, instead of the recipe's."),
        "srcs": attr.label_list(allow_files = True, doc = "All else that the recipe reads: model, weights, samples, recipes that it extends."),
        "set": attr.string_list(doc = "Overrides, PATH=VALUE."),
        "machine": attr.string(doc = "Machine, instead of the recipe's targets."),
        "tamis": attr.string(default = "tamis", doc = "The command; a name is looked up on the PATH."),
    },
)
