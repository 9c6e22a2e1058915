"""The base of every method: four questions, asked in the same order, with the standard answers.

    posterior      what is q(z | x)?
    decoder_input  what past may the decoder see?
    objective      what is minimised?
    sample         how is a series drawn?

A method file answers what it does differently. The standard answers are those of vanilla latent
diffusion; only `objective` has none, because it is what a method is. Ingredients that combine
with any method (the latent's route, masking) are options here.

Shapes: R runs, B series, T time steps, C channels, D latent dimensions.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from bench.contracts import (
    DiffusionConfig,
    Draws,
    InputError,
    Likelihood,
    Model,
    ModelConfig,
    PerRun,
    Posterior,
    Sizes,
    Step,
    TrainConfig,
    Undefined,
    option,
    per_run_fields,
)
from bench.parts.decoder_inputs import masked_past
from bench.parts.diffusion import denoising_loss, reverse_diffusion
from bench.parts.posteriors import DeterministicPosterior, GaussianPosterior

T = TypeVar("T")


@dataclass(frozen=True)
class Method(ABC):
    """One answer to posterior collapse. Subclasses are frozen dataclasses; their fields are hyper-parameters.

    The class docstring is the method's card: one sentence, the equation, the source with its
    equation number, and "Ours:" for what differs from the source.
    """

    latent_route: Literal["first", "every_step", "none"] = "first"  # the steps that z is an input of
    masking_rate: PerRun = option(0.0, at_least=0, at_most=1)  # share of past steps hidden from the decoder in training

    name: ClassVar[str]
    backbones: ClassVar[tuple[str, ...]] = ()  # that it serves; () is every one
    version: ClassVar[int] = 1  # raised when the same options give other numbers
    standardises_latents: ClassVar[bool] = True  # for the denoiser; False where it shares a space with the decoder
    denoises_jointly: ClassVar[bool] = False  # the denoiser is trained along with the rest; see `joint_denoising`
    objective_denoises: ClassVar[bool] = False  # the objective itself trains the denoiser along with the rest
    encoder_updates: ClassVar[int] = 0  # at most, of the encoder alone before an update
    without_effect: ClassVar[tuple[str, ...]] = ()  # options of the training blocks that change nothing of it
    reference: ClassVar[bool] = False  # another kind of generator to compare with, and no answer to posterior collapse

    @classmethod
    def defaults(cls, diffusion: DiffusionConfig) -> dict[str, Any]:
        """Options whose default depends on the noise schedule: their values, where a sweep does not give them."""
        return {}

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Refuse options that no training could use. Raises InputError naming the method and the option.

        Here: a latent of several steps cannot enter at the first step only. A method that checks more calls this, too.
        """
        if model.latent_steps > 1 and self.latent_route == "first":
            raise InputError(
                f"model.latent_steps = {model.latent_steps}: {self.name} has latent_route: first, with which no step "
                "but the first reads a latent: expected 1, or latent_route: every_step"
            )

    def resolved(self, diffusion: DiffusionConfig) -> Method:
        """The same method with every option a number that training can use (such as `N: auto`)."""
        return self

    def without_use(self) -> tuple[str, ...]:
        """Its own options that change nothing beside the values of the others; a sweep that sets one says so."""
        return ()

    @property
    def moves_denoiser(self) -> bool:
        """Whether the denoiser is trained in the first stage already, by either of the two ways."""
        return self.denoises_jointly or self.objective_denoises

    @property
    def schedule_share(self) -> PerRun:
        """From which share of the schedules' updates on (`Step.fraction`) the objective is the final one."""
        return 0.0

    def encoder_width(self, latent: int) -> int:
        """How many numbers the encoder gives: a mean and a log sigma per latent dimension.

        It is a multiple of `latent`, which with `model.latent_steps` above 1 are the dimensions of one latent step; the
        model's encoder then gives the first of these numbers for all steps, then the second.
        """
        return 2 * latent

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The model's networks by name; `standard` holds the backbone's encoder and decoder, and the denoiser.

        A method may add, wrap or replace. All but the denoiser are trained by `objective`. Every
        parameter is (R, ...), made by `bench.models.stacked.parameter`.
        """
        return standard

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """q(z | x) for x (R, B, T, C)."""
        return GaussianPosterior.from_encoder(model.encoder(x))

    def decoder_input(self, x: Tensor, draws: Draws) -> Tensor:
        """x_1 .. x_{T-1} as the decoder may see it in training, (R, B, T-1, C); a hidden step is `HIDDEN`."""
        return masked_past(x, self.masking_rate, draws)

    def explain(self, model: Model, x: Tensor, draws: Draws) -> tuple[Posterior, Tensor, Likelihood]:
        """q(z | x), z ~ q (R, B, D), and p(x | z, past): what an ELBO is made of."""
        q = self.posterior(model, x)
        z = q.rsample(draws)
        return q, z, model.decoder(z, self.decoder_input(x, draws))

    @abstractmethod
    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """Terms of shape (R), in nats per series; their sum is minimised."""

    def codes(self, model: Model, x: Tensor) -> Posterior:
        """What the denoiser learns to draw: the posterior, for whoever has a latent."""
        return self.posterior(model, x)

    def rate_of(self, model: Model, x: Tensor, draws: Draws) -> Tensor | None:
        """KL(q(z | x) || p(z)) with the prior of the objective, in nats per series, (R, B); None for a point."""
        kl = self.posterior(model, x).kl()
        return None if kl is None else kl.sum(dim=-1)

    def denoising(self, model: Model, posterior: Posterior, draws: Draws) -> Tensor:
        """L_DM on latents of the frozen encoder, (R)."""
        return denoising_loss(model, posterior.rsample(draws), draws).mean(dim=-1)

    def joint_denoising(self, model: Model, x: Tensor, draws: Draws) -> Tensor:
        """L_DM of series x, the denoiser's own batch, with its gradient into the encoder, (R)."""
        return self.denoising(model, self.codes(model, x), draws)

    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """z of n new series: the reverse diffusion from step L to 0, (R, n, D)."""
        return reverse_diffusion(model, n, draws)

    def as_generated(self, model: Model, z: Tensor, draws: Draws) -> Tensor:
        """What the decoder gets in place of a posterior's z (R, B, D) in generation; z itself as a rule."""
        return z

    def sample(self, model: Model, n: int, draws: Draws) -> Tensor:
        """n new series, (R, n, T, C)."""
        return model.decoder.generate(self.latents(model, n, draws), draws)


@dataclass(frozen=True)
class DataSpaceMethod(Method):
    """A generator of whole series, without a latent: its only network, `denoiser`, is trained for all updates.

    A subclass says which network that is (its `latent` is T * C, and it knows `window` and `channels`), what differs
    from the diffusion of the harness, and that it is a `reference`. A "latent" here is a flattened series.
    """

    standardises_latents = False  # windows are standardised per channel already
    without_effect = (  # there is no autoencoder, whose updates go to the only network, which is the method's own
        *(f"model.{item.name}" for item in dataclasses.fields(ModelConfig) if item.name != "latent_steps"),
        *(f"train.{item.name}" for item in dataclasses.fields(TrainConfig) if item.name not in ("steps", "precision")),
        *("diffusion.block", "diffusion.blocks", "diffusion.predicts"),
    )
    latent_route: Literal["none"] = "none"
    masking_rate: Literal[0] = 0  # there is no decoder whose past could be masked

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Raises InputError for a latent of several steps."""
        if model.latent_steps > 1:
            raise InputError(f"model.latent_steps = {model.latent_steps}: {self.name} has no latent: expected 1")

    def posterior(self, model: Model, x: Tensor) -> NoReturn:
        """Raises Undefined."""
        raise Undefined(f"{self.name} has no latent")

    def codes(self, model: Model, x: Tensor) -> Posterior:
        """The series themselves, flattened."""
        return DeterministicPosterior(x.flatten(-2))

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The denoising loss, summed over T * C."""
        return {"denoising": self.denoising(model, self.codes(model, x), draws)}

    def sample(self, model: Model, n: int, draws: Draws) -> Tensor:
        """n new series, (R, n, T, C)."""
        denoiser = model.get_submodule("denoiser")
        return self.latents(model, n, draws).unflatten(-1, (denoiser.window, denoiser.channels))


def stacked(items: Sequence[T], device: torch.device | str = "cpu") -> T:
    """One instance for R runs: the PerRun fields become tensors (R,), every other field is shared.

    Raises ValueError where a field that is not PerRun differs: such runs cannot share a stack.
    """
    first, fields = items[0], per_run_fields(type(items[0]))  # type: ignore[arg-type]
    together = {
        name: torch.tensor([float(getattr(item, name)) for item in items], dtype=torch.float32, device=device)
        for name in fields
    }
    if any(dataclasses.replace(item, **{name: getattr(first, name) for name in fields}) != first for item in items):  # type: ignore[type-var]
        raise ValueError(f"runs of one stack differ in more than {list(fields)}")
    return dataclasses.replace(first, **together)  # type: ignore[type-var]
