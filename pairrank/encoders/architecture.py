"""What transformers knows about an architecture decides how the vectors of its tokens become one."""

from pathlib import Path
from typing import Any, Literal

from pairrank.encoders.opening import open_config
from pairrank.encoders.static import is_static

PoolingMode = Literal["auto", "mean", "last", "cls", "attention", "answer"]
"""How the vectors of the tokens become one: their mean, that of the last or first token, a learned mean, or the
mean over the answer's tokens alone.

"auto" is "last" for a causal decoder, in which only the last token has seen the whole text, and else "mean".
"""


def is_causal(config: Any) -> bool:
    """Return whether a token of a model with this configuration sees only the tokens before it.

    That holds for models that transformers lists with a head for causal language models and without one for masked
    tokens, unless the configuration turns the causal mask off, and for a model that is set to be a decoder.
    """
    from transformers.models.auto import modeling_auto

    text = config.get_text_config()
    if config.is_encoder_decoder or text.is_encoder_decoder:
        return False
    if getattr(text, "use_bidirectional_attention", None) in (True, "all"):
        return False
    if not getattr(text, "is_causal", True):
        return False
    is_decoder_only = (
        text.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and text.model_type not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    return is_decoder_only or bool(getattr(text, "is_decoder", False))


def lacks_decoder(config: Any) -> bool:
    """Return whether a configuration is that of the encoder alone of an architecture with encoder and decoder."""
    from transformers.models.auto import modeling_auto

    has_both: bool = config.model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return has_both and not config.is_encoder_decoder


def has_causal_encoder(folder: Path) -> bool:
    """Return whether the encoder in a folder `is_causal`; raises UserError if its configuration cannot be read."""
    return not is_static(folder) and is_causal(open_config(folder))


def choose_pooling(pooling: PoolingMode, folder: Path) -> PoolingMode:
    """Return `pooling`, or for "auto" the pooling that fits the encoder in `folder`; may raise UserError."""
    if pooling != "auto":
        return pooling
    return "last" if has_causal_encoder(folder) else "mean"
