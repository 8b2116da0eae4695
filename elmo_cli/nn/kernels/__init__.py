"""Fast inference kernels: packed matrix products, compiled and Triton LSTM steps."""
