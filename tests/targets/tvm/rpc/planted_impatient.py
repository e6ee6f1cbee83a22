"""``device_model`` with a short time limit for a call."""

from unittest import mock

from tamis.targets.tvm.rpc import device_model

with mock.patch.object(device_model, "CALL_SECONDS", 2.0):
    device_model.main()
