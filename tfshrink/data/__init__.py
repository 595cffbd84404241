"""Text, SQuAD and generated data, as NumPy batches."""
