"""Devices that serve TVM's RPC: the server, the tracker, and what runs, measures and tunes models there.

``serve_device`` and ``serve_tracker`` are programs. ``session``, ``device_model`` and ``device_worker`` load TVM's runtime
and run in processes of their own; all others never do.
"""
