"""Tests train with one thread, apart from those about the number of threads.

Two threads of a convolution wait for each other by spinning. If more threads than cores are to run, as in a suite of
several processes, a training then takes several times the processor time, and minutes on a busy machine.
"""

from src.mnist.model import processes

STAGE_THREADS = processes.CPU_THREADS
# This comes first, before another module imports the number.
processes.CPU_THREADS = 1
