"""Turn files into batches: sources -> images -> loader -> augment, tied together by the datamodule."""
