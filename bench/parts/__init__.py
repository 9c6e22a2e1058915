"""The vocabulary of methods: posteriors, likelihoods, objectives, decoder inputs, diffusion."""
