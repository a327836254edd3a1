"""What a guarded call costs, beside other libraries, as ratios that hold on a noisy machine.

Run ``python -m benchmarks``; README.md tells the method.
"""
