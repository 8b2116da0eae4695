"""Work that survives its process: each window is kept in a work folder beside the output until the output is whole."""
