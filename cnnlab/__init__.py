"""cnnlab: train and compare convolutional networks on CIFAR-10 and on images of your own."""

__version__ = "0.1.0"
