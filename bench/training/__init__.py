"""From windows to a trained stack: one loop for every method.

    stack.py            `train_stack`: the autoencoder stage, then the denoiser stage on the frozen encoder
    autoencoder.py      the first stage, and which of its checks is the best
    denoiser.py         the second stage
    loop.py             the updates of either stage, and the curves recorded on the way
    lagging.py          an encoder that runs ahead of its decoder (lagging inference)
    stopping.py         the guard that stops runs which diverge
    device_windows.py   the windows on the device, and batches of them

Losses and clipping are in nats per value (the objective divided by T * C), so that one learning
rate and one `clip_norm` serve every window. A run that diverges stops moving and keeps its
reason; its neighbours in the stack do not notice.
"""
