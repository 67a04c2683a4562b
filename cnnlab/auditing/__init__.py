"""Find what is wrong with the images and labels of a data set."""
