"""The parts of ``convert-float16``."""
