"""Where compiled models run: machines as data (``hardware/*.yaml``) and one package a runtime."""

if __name__ != "tamis.targets":
    raise ImportError("this folder is the package tamis.targets: import tamis.targets instead")
