"""The ELMo network, and modules that are trained on its layers."""
