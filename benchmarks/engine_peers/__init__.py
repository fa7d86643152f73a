"""The engines that benchmarks/engine.py sets side by side, each in a process of its own."""
