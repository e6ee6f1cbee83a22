"""``tamis serve``: bundles behind the Open Inference Protocol v2."""
