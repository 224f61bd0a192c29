"""An adapter (LoRA) is trained instead of the encoder, whose weights stay as they were published.

A linear layer W with an adapter computes Wx + s·B(Ax), where only the small matrices A and B are trained (Hu et al.
2021, section 4.1). B starts at 0, so that the first output is the encoder's own.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairrank.encoders.adapter_settings import ALL_LINEAR, AdapterSettings, Bits, require_bits
from pairrank.errors import UserError, excerpt

if TYPE_CHECKING:
    import torch
    from torch import nn

TRAINED = "pairrank_trained"
"""Attribute of a model with an adapter: the names of the parameters in it that are trained."""


def base_options(settings: AdapterSettings, unquantised: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the options of `from_pretrained` for the encoder's weights.

    `unquantised` names linear layers that keep 16 bits, such as a new head.
    """
    import torch

    if settings.base_bits == 32:
        return {"dtype": torch.float32}
    options: dict[str, Any] = {"dtype": half_type()}
    if settings.base_bits < 16:
        from transformers import BitsAndBytesConfig

        quantised = {"load_in_4bit": True} if settings.base_bits == 4 else {"load_in_8bit": True}
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            **quantised,
            # Its name is older than 4 bits, for which it holds as well.
            llm_int8_skip_modules=[*unquantised, *settings.whole] or None,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=half_type(),
        )
        # Each process that torchrun starts has a GPU of its own, which is not the current one yet.
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK") or torch.cuda.current_device())}
    return options


def frozen_options(bits: Bits, unquantised: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return `base_options` for an encoder that is only read; raises UserError if it cannot be quantised here."""
    require_bits(bits)
    return base_options(AdapterSettings(base_bits=bits), unquantised)


def half_type() -> "torch.dtype":
    """Return the type of frozen weights of 16 bits: float16 on a GPU without bf16, else bfloat16."""
    import torch

    old = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.float16 if old else torch.bfloat16


def add_adapter(model: Any, settings: AdapterSettings, seed: int = 0, new: Sequence[str] = ()) -> None:
    """Put an adapter into a model of transformers, in place, and freeze all else; does nothing for rank 0.

    Matrices A are drawn from the seed. Adapter and whole modules have weights in float32, whatever the bits of the
    others. `new` names further modules to be trained whole, because they were not pretrained. Raises UserError if
    the model has no modules of the names in the settings.
    """
    if not settings.is_used:
        return
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    _refuse_unknown_names(model, settings)
    whole = [*settings.whole, *new]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a factor; peft only multiplies by it
        lora_dropout=settings.dropout,
        target_modules=ALL_LINEAR if settings.targets == [ALL_LINEAR] else settings.targets,
        exclude_modules=whole or None,
        use_rslora=settings.rank_stabilised,
        use_dora=settings.dora,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    trained = {name for name, _ in model.named_parameters() if _is_trained(name, whole)}
    setattr(model, TRAINED, frozenset(trained))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
        if name in trained:
            parameter.data = parameter.data.float()
    if settings.base_bits != 32:
        for name, part in model.named_modules():
            if _ends_with(name, whole):
                compute_in_float32(part, half_type())


def _refuse_unknown_names(model: Any, settings: AdapterSettings) -> None:
    from torch import nn

    names = [name for name, _ in model.named_modules()]
    wanted = settings.whole if settings.targets == [ALL_LINEAR] else [*settings.targets, *settings.whole]
    unknown = [each for each in wanted if not any(_ends_with(name, [each]) for name in names)]
    if unknown:
        linear = {name.split(".")[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)}
        raise UserError(
            f"adapter: the encoder has no module called {', '.join(map(excerpt, unknown))}. "
            f"Its linear layers are {', '.join(sorted(linear))}."
        )


def _ends_with(name: str, endings: Sequence[str]) -> bool:
    """Return whether the dotted name of a module ends with one of these names."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _is_trained(name: str, whole: Sequence[str]) -> bool:
    """Return whether a parameter of a model with an adapter belongs to the adapter or to a module trained whole."""
    parts = name.split(".")
    is_added = any(part.startswith("lora_") for part in parts)
    return is_added or any(_ends_with(".".join(parts[:end]), whole) for end in range(1, len(parts)))


def compute_in_float32(module: "nn.Module", output: "torch.dtype | None" = None) -> None:
    """Make a module with weights in float32 accept inputs of other types, and return `output` if that is given.

    Otherwise a module of 32 bits fails after one of 16 bits, wherever autocast is off.
    """
    import torch

    def cast(given: Any, dtype: torch.dtype) -> Any:
        is_float = isinstance(given, torch.Tensor) and given.is_floating_point()
        return given.to(dtype) if is_float else given

    module.float()
    module.register_forward_pre_hook(lambda _, given: tuple(cast(each, torch.float32) for each in given))
    if output is not None:
        module.register_forward_hook(lambda _, given, made: cast(made, output))


def trained_weights(module: Any) -> "dict[str, torch.Tensor]":
    """Return the weights of adapter, whole modules and head by name, on the CPU.

    `module` contains a model with an adapter; everything outside that model is the head.
    """
    prefix, trained = trained_names(module)
    return {
        name: value.detach().cpu().contiguous()
        for name, value in module.state_dict().items()
        if not name.startswith(prefix) or name in trained
    }


def trained_names(module: Any) -> tuple[str, set[str]]:
    """Return the beginning of the names of the encoder's weights in a module, and the names of those trained."""
    path, model = _adapted(module)
    return f"{path}.", {f"{path}.{name}" for name in getattr(model, TRAINED)}


def contains_adapter(module: Any) -> bool:
    """Return whether a part of the module is a model with an adapter."""
    return any(hasattr(part, TRAINED) for part in module.modules())


def _adapted(module: Any) -> tuple[str, Any]:
    """Return the part of a module that is a model with an adapter, after its dotted name."""
    return next((name, part) for name, part in module.named_modules() if hasattr(part, TRAINED))


def count_parameters(module: Any) -> dict[str, int]:
    """Return the number of parameters and, with an adapter, the number of those that are trained."""
    sizes = {}
    for name, value in module.named_parameters():
        # Two weights of 4 bits share a byte.
        packed = getattr(value, "quant_state", None)
        sizes[name] = value.numel() if packed is None else packed.shape.numel()
    counts = {"parameters": sum(sizes.values())}
    if contains_adapter(module):
        counts["trained_parameters"] = sum(sizes[name] for name in trained_weights(module) if name in sizes)
    return counts


def set_trained_weights(module: Any, weights: "Mapping[str, torch.Tensor]") -> None:
    """Put weights from `trained_weights` into a module that was built with the same settings.

    Raises UserError if they are not exactly the weights that the module trains.
    """
    expected = {name: tuple(value.shape) for name, value in trained_weights(module).items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        name = wrong[0]
        raise UserError(
            f"{excerpt(name)} {f'has the shape {found[name]}' if name in found else 'is missing'} in the saved "
            f"adapter and head, expected {expected.get(name, 'no such weight')}: they belong to another model. "
            "Train the model again."
        )
    module.load_state_dict(dict(weights), strict=False)


def merge_adapter(module: Any) -> None:
    """Add the adapter in a module to the weights of its layers, in place, and remove it.

    The model that had it is a plain one afterwards. The sum has the type of the layer's weights, so its rounding
    changes the outputs slightly.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    _, model = _adapted(module)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge(safe_merge=True)
            model.set_submodule(name, layer.get_base_layer())
    del model.peft_config
    delattr(model, TRAINED)
