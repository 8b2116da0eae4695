"""The fast path: packed products, the compiled and the Triton LSTM step."""
