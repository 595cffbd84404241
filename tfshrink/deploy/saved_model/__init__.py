"""SavedModels that plain TensorFlow loads: packed weights, unpacked inside."""
