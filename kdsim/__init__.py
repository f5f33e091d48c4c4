"""kdsim: a Windows kernel to debug, and the kd> to debug it with."""

__version__ = "0.1.0"
