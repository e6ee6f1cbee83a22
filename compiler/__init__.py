"""The machinery: recipe, pass and target contracts, pipeline, verification, measuring, bundle, commands.

It knows no particular pass, target or runtime; those are found by name through ``registry``.
"""

if __name__ != "tamis.compiler":
    raise ImportError("this folder is the package tamis.compiler: import tamis.compiler instead")
