"""The networks of the ``resunet`` plugins: architecture, weights, what goes in and comes out, training."""
