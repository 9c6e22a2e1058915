"""At which temperature a run's series were drawn."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, undefined
from bench.registry import register_metric


@register_metric("sampling_temperature")
@dataclass(frozen=True)
class SamplingTemperature(LatentMetric):
    """The temperature of the decoder's likelihood in generation: the option `evaluate.temperature`, or what it chose.

        deviations and scales    sigma' = tau sigma
        weights of a mixture     w_k' = w_k^(1/tau) / sum_j w_j^(1/tau)

    Of several temperatures it is the one with the lowest c2st AUC beside the run's own validation windows, with the
    same draws for each. Areas below one half count as one half, and among equal ones the temperature nearest to 1 is
    taken. It says how series were drawn and nothing else: no likelihood knows it. Below 1 the series are less random
    than those of the trained model. It is not the power p^(1/tau) of the model, see `bench.parts.likelihoods.tempered`.
    Shapes: none. Unit: 1. Errors: undefined for a generator without a decoder.
    Source: biased sampling, Graves 2013, arXiv:1308.0850, sec. 5.4. Its equations are not checked against the text.
    Ours: one temperature for weights and deviations, and the choice.
    Blind to: how good the chosen one is. Where validation windows are few, the choice has a chance error of its own.
    """

    version = 1
    outputs = ("sampling_temperature",)
    unit = "1"
    direction = "none"
    source = "Graves 2013, arXiv:1308.0850, sec. 5.4"
    fast = False

    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """What the model was set to."""
        if not hasattr(evaluation.model, "decoder"):
            return undefined(self.outputs, f"{evaluation.method.name} has no decoder that series are drawn from")
        (temperature,) = evaluation.model.temperature
        return [Measurement("sampling_temperature", temperature)]
