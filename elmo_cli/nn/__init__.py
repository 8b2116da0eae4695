"""The network in reading order: characters, biLM, LSTM, scalar mix; kernels/ holds the fast path."""
