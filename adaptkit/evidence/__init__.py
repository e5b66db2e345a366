"""Evidence: what each way of adapting a model is worth, on questions that none of them has seen."""
