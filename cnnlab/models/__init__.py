"""Define the networks. Each is a plain `torch.nn.Module` that maps images (N, C, H, W) to logits (N, num_classes)."""
