"""From windows to a trained stack: the autoencoder, then the denoiser, with what stops them."""
