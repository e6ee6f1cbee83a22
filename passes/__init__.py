"""The passes, one a file: ``passes/<family>/<name_with_underscores>.py`` holds the pass ``<name-with-dashes>``."""

if __name__ != "tamis.passes":
    raise ImportError("this folder is the package tamis.passes: import tamis.passes instead")
