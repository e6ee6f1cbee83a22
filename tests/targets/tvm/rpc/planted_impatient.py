"""``device_model`` with a short time limit for a call."""

from tamis.targets.tvm.rpc import device_model

device_model.CALL_SECONDS = 2.0
device_model.main()
