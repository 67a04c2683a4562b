"""Change training images at random, one file for each kind of augmentation.

Each augmentation is a small frozen dataclass whose attributes are its options, and that has:

- `stream`: the number of its random stream. Take a new one (0 to 9 are in use), so that the decisions of the others
  do not change.
- `on_pixels`: whether it changes uint8 pixels (B, H, W, C), or normalized images (B, C, H, W), in which 0 is the mean
  colour.
- `draw(generator, epoch)`: draws the decisions for all images of an epoch, as a dictionary of arguments for `apply`.
  Tensors have a row for each image of the data set. An empty dictionary changes nothing.
- `apply(images, ...)`: changes a batch. Tensors hold the rows of its images by then, on the batch's device.

To add an augmentation, write such a class, and add an option and a line to `cnnlab.data.augment.Augmentation`.
"""
