"""From files to batches: sources -> images -> loader -> augment, tied together by the datamodule."""
