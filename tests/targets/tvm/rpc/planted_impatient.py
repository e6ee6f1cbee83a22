"""``device_model`` with a time limit of a second for a call."""

from tamis.targets.tvm.rpc import device_model

device_model.CALL_SECONDS = 0.1
device_model.main()
