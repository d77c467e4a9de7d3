"""Have the chains converged? The one place where TensorFlow Probability is used, by its public functions."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf


@functools.partial(tf.function, autograph=False)
def diagnose(x: Any) -> tuple[Any, Any]:
    """Effective sample size and split R-hat (v, p) of draws (n, chains, v, p).

    Vehtari et al. 2021, doi:10.1214/20-BA1221 (without rank normalisation); TFP gives the square of R-hat.
    """
    # Few curves need trajectories, and the library takes long to load.
    import tensorflow_probability as tfp

    ess = tfp.mcmc.effective_sample_size(x, cross_chain_dims=1, filter_beyond_positive_pairs=True)
    rhat = tfp.mcmc.potential_scale_reduction(x, independent_chain_ndims=1, split_chains=True)
    return ess, tf.sqrt(rhat)
