"""`tuner_fn`: what TFX's Tuner calls."""

from __future__ import annotations

from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from components.trainer.run_fn import config_of, data_of
from components.tuner.config import TunerConfig
from components.tuner.search import Search
from schemas import configuration

TUNER_FN = f"{__name__}.tuner_fn"
TUNER_CONFIG = "tuner_config"
"""Key of the configuration's JSON in custom_config, beside what the Trainer has there."""


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Build the search.

    Args:
      fn_args: TFX's arguments, with the Trainer's entries of `custom_config` and the Tuner's configuration.

    Raises:
      ValueError: The strategy is for several machines.
    """
    config = config_of(fn_args)
    if config.strategy == "multi_worker":
        raise ValueError("the Tuner trains on one machine; choose --strategy none or mirrored, or --trials 0")
    tuner = configuration.from_json(TunerConfig, fn_args.custom_config[TUNER_CONFIG])
    search = Search(config, tuner.trials, fn_args.working_dir)
    return TunerFnResult(tuner=search, fit_kwargs={"data": data_of(fn_args)})
