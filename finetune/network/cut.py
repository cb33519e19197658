"""The place up to which a network is frozen: what is before it runs once per image, the rest as often as needed.

No architecture is known here. The network is run and the calls of its modules are watched. The cut is at the first
module that holds something trained. What follows is then the same forward pass, in which all that ended before the cut
gives zeros without computing anything, and the cut gets the activations that were kept. That nothing else crosses the
cut (a shortcut around it, say) is tested: values and gradients have to be those of the whole network. Where they are
not, the module around it is tried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode

from ...extract.device import exact_fp32, is_lost, is_out_of_memory
from .forward_pass import FEW, MORE, Call, Outputs, ShapeError, replaced, watch

if TYPE_CHECKING:
    from .classifier import Classifier

_LEAST = 0.1
"""Share of the arithmetic below which a cut is not worth its disk space: nearly all would still run each time."""
_NO_MATTER = 0.01
"""Difference of that share that does not matter."""
_ROUNDING = 1e-5
"""Largest difference of logits, relative to the largest one: kernels may round differently with a tensor's place in
memory and with the number of images. A cut that loses something is off by far more."""
_ROUNDING_OF_GRADIENTS = 1e-4


class Cut:
    """A classifier in two halves: `suffix(prefix(images))` is what `classifier(images)` is.

    Both halves run the classifier's own modules, so that they follow every step of its training.
    """

    def __init__(self, classifier: Classifier, call: Call, flops: int) -> None:
        """Cuts at the module of `call`, untested; `of` is the way in. `flops` are those of the whole, of `FEW` images.

        Raises:
            ShapeError: what comes to the cut, or is before it, does not follow the number of images.
        """
        names = {module: name for name, module in classifier.named_modules()}
        self.classifier, self.name = classifier, names[call.module]
        """`name` is that of the first module after the cut."""
        self._inputs = call.arguments()
        self._ended: dict[str, list[Outputs]] = {}
        for ended in call.ended_before():
            if any(leaf.per_image for leaf in ended.outputs().leaves):
                self._ended.setdefault(names[ended.module], []).append(ended.outputs())
        self.shapes = [tuple(leaf.to_rows(leaf.value).shape[1:]) for leaf in self._inputs if leaf.per_image]
        """Of the activations of one image."""
        self.frozen_share = 1 - self._flops_after() / max(flops, 1)
        """Share of a forward pass's arithmetic that is before the cut."""

    def on(self, classifier: Classifier) -> Cut:
        """The same cut of another classifier of the same backbone and mode, without a test."""
        other = copy(self)
        other.classifier = classifier
        return other

    @classmethod
    def of(cls, classifier: Classifier) -> Cut | None:
        """The latest cut before which nothing is trained, or an earlier one that leaves out as much.

        None where nearly nothing is frozen before what is trained, or where no cut gives what the whole gives.
        """
        was_training, device = classifier.training, next(classifier.parameters()).device
        classifier.eval()
        try:
            with exact_fp32(device, "fp32"):
                return _latest(classifier)
        except ShapeError:
            return None
        finally:
            classifier.train(was_training)

    def prefix(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The activations at the cut, without gradients, of uint8 images (B, C, H, W) on the classifier's device.

        The first dimension of each is images.
        """
        with torch.no_grad(), replaced({self._module: _stop}):
            try:
                self.classifier(images)
            except _ReachedError as reached:
                values = zip(self._inputs, tree_flatten(reached.arguments)[0], strict=True)
                return tuple(leaf.to_rows(value) for leaf, value in values if leaf.per_image)
        raise RuntimeError(f"{self.name} was not reached")

    def suffix(self, activations: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits float32 (B, outputs), with gradients, of what `prefix` gives, in any floating-point type."""
        count, device = len(activations[0]), activations[0].device
        forwards: dict[nn.Module, Callable[..., Any]] = {self._module: self._entry(activations)}
        for name, ended in self._ended.items():
            module = self.classifier.get_submodule(name)
            forwards[module] = _stand_in(module, ended, count, device)
        no_images = torch.zeros((), dtype=torch.uint8, device=device).expand(count, *self.classifier.vectors.shape)
        with replaced(forwards):
            return self.classifier(no_images)

    @property
    def _module(self) -> nn.Module:
        return self.classifier.get_submodule(self.name)

    def _entry(self, activations: Sequence[torch.Tensor]) -> Callable[..., Any]:
        """The forward of the module at the cut, which gets `activations` at its first call."""
        forward, rows = self._module.forward, deque(activations)

        def enter(*args: Any, **kwargs: Any) -> Any:
            if rows:
                values, spec = tree_flatten((args, kwargs))
                given = zip(self._inputs, values, strict=True)
                values = [leaf.from_rows(rows.popleft()) if leaf.per_image else value for leaf, value in given]
                args, kwargs = tree_unflatten(values, spec)
            return forward(*args, **kwargs)

        return enter

    def _flops_after(self) -> int:
        device = next(self.classifier.parameters()).device
        rows = [leaf.to_rows(leaf.zeros(FEW, device)) for leaf in self._inputs if leaf.per_image]
        with FlopCounterMode(display=False) as counter:
            self.suffix(rows)
        return counter.get_total_flops()


class _ReachedError(Exception):
    """Ends a forward pass at the cut."""

    def __init__(self, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        super().__init__()
        self.arguments = arguments


def _stop(*args: Any, **kwargs: Any) -> Any:
    raise _ReachedError((args, kwargs))


def _stand_in(module: nn.Module, ended: Sequence[Outputs], count: int, device: torch.device) -> Callable[..., Any]:
    """A forward that gives zeros as often as the module was called before the cut, and then is the module's own."""
    forward, before = module.forward, deque(ended)

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return before.popleft().zeros(count, device) if before else forward(*args, **kwargs)

    return stand_in


@dataclass(frozen=True)
class _Trial:
    """Random images, and what the whole network gives for them."""

    images: torch.Tensor
    logits: torch.Tensor

    @classmethod
    def of(cls, classifier: Classifier, count: int) -> _Trial:
        shape, device = (count, *classifier.vectors.shape), next(classifier.parameters()).device
        generator = torch.Generator().manual_seed(count)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device)
        with torch.no_grad():
            return cls(images, classifier(images))


def _latest(classifier: Classifier) -> Cut | None:
    """See `Cut.of`."""
    few, more = _Trial.of(classifier, FEW), _Trial.of(classifier, MORE)
    with FlopCounterMode(display=False) as counter:
        classifier(few.images)
    best: Cut | None = None
    for call in reversed(_first_trained(watch(classifier, few.images, more.images))):
        cut = _exact_cut(classifier, call, counter.get_total_flops(), (few, more))
        # The outermost that leaves out as much: a dropout before the first trained layer comes after the cut.
        if cut is not None and (best is None or cut.frozen_share > best.frozen_share - _NO_MATTER):
            best = cut
        elif best is not None:
            break
    return best


def _first_trained(call: Call) -> list[Call]:
    """The first call inside `call` that holds something trained, the first inside that one, and so on."""
    for inside in call.inside:
        if any(parameter.requires_grad for parameter in inside.module.parameters()):
            return [inside, *_first_trained(inside)]
    return []


def _exact_cut(classifier: Classifier, call: Call, flops: int, trials: Sequence[_Trial]) -> Cut | None:
    """The cut at the module of `call`, if it is worth something and exact."""
    try:
        cut = Cut(classifier, call, flops)
        exact = cut.frozen_share >= _LEAST and _gives_the_same(cut, trials)
        return cut if exact and _trains_the_same(cut, classifier, trials[0]) else None
    except (ShapeError, RuntimeError, ValueError, TypeError, IndexError) as error:
        # What the code of a network may raise when it is given zeros.
        if is_out_of_memory(error) or is_lost(error):
            raise
        return None


def _gives_the_same(cut: Cut, trials: Sequence[_Trial]) -> bool:
    """Whether logits are equal, also those of images that come together from several batches."""
    with torch.no_grad():
        halves = [cut.prefix(trial.images) for trial in trials]
        if not all(_close(cut.suffix(rows), trial.logits) for rows, trial in zip(halves, trials, strict=True)):
            return False
        mixed = [torch.cat(rows).flip(0) for rows in zip(*halves, strict=True)]
        whole = torch.cat([trial.logits for trial in trials]).flip(0)
        # Logits that are the same for all images would show nothing.
        return not torch.equal(whole, whole[:1].expand_as(whole)) and _close(cut.suffix(mixed), whole)


def _trains_the_same(cut: Cut, classifier: Classifier, trial: _Trial) -> bool:
    """Whether logits and gradients of a training step are equal, with the same random numbers after the cut."""
    rows = cut.prefix(trial.images)
    buffers = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]

    def step(run: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        with _forked(trial.images.device), torch.enable_grad():
            torch.manual_seed(0)
            logits = run()
            gradients = torch.autograd.grad(logits.square().sum(), trained, allow_unused=True, materialize_grads=True)
        for name, buffer in classifier.named_buffers():
            buffer.copy_(buffers[name])
        return logits, gradients

    classifier.train()
    try:
        if _draws_random_numbers(lambda: cut.prefix(trial.images), trial.images.device):
            return False
        (whole, gradients), (half, others) = step(lambda: classifier(trial.images)), step(lambda: cut.suffix(rows))
    finally:
        classifier.eval()
    pairs = zip(others, gradients, strict=True)
    return _close(half, whole) and all(_close(one, other, _ROUNDING_OF_GRADIENTS) for one, other in pairs)


def _draws_random_numbers(run: Callable[[], object], device: torch.device) -> bool:
    def state() -> torch.Tensor:
        return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()

    with _forked(device):
        before = state()
        run()
        return not torch.equal(before, state())


def _forked(device: torch.device) -> AbstractContextManager[None]:
    """Gives the generators of the CPU and of one device back as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _close(one: torch.Tensor, other: torch.Tensor, rounding: float = _ROUNDING) -> bool:
    return bool((one - other).abs().max() <= rounding * other.abs().max())
