"""Apache TVM: compiles a model to machine code, with schedules that are tuned for the machine.

TVM itself is loaded only in a process of its own (``child_main``), so that a crash of its C++ code cannot end tamis.
"""
