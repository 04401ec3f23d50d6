"""Keep the libraries' own bars and notes off the terminal; ours say the same."""

from __future__ import annotations

import warnings

from datasets import disable_progress_bars
from transformers.utils import logging


def quiet_libraries() -> None:
    """Silence what every training would say again."""
    disable_progress_bars()
    logging.set_verbosity_error()
    # TRL reads this argument under its old name only, which transformers 5.23 announces to be renamed.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")
    # Asked for by name in the settings, which will say otherwise when TRL has taken it away.
    warnings.filterwarnings("ignore", message=".*use_liger_kernel.* is deprecated", category=FutureWarning)
    # Said before the training, and without a place in a library's code.
    warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")
    # DeepSpeed calls collectives by their old names.
    warnings.filterwarnings("ignore", message=".*_tensor` is deprecated", category=FutureWarning)
