"""The loader in a bundle: one module that runs it on machines without tamis."""
