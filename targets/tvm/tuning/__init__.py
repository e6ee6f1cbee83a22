"""Schedules of TVM's kernels: a good one without measuring, better ones by measuring, all of them remembered.

``store`` is the parent's side and never imports TVM; everything else runs in the compiler process or in its workers.
"""
