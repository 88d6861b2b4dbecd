"""Is there a CUDA driver with a device? Asked of the driver itself, since everything else crashes or guesses."""

from __future__ import annotations

import ctypes
import os

import msgspec


class DriverProbe(msgspec.Struct, frozen=True):
    """What the CUDA driver says.

    Attributes
    ----------
    devices
        Number of devices; 0 where TensorRT cannot run.
    reason
        Why there are none, or how many there are.
    """

    devices: int
    reason: str


def probe_driver() -> DriverProbe:
    """Count the CUDA devices through the driver library.

    Without a driver ``tensorrt.Runtime`` hands out an object that ends the process at its next use, so this comes
    before any import of TensorRT.
    """
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return DriverProbe(0, "no CUDA driver")
    count = ctypes.c_int(0)
    if (code := driver.cuInit(0)) != 0:
        return DriverProbe(0, f"the CUDA driver does not start (error {code})")
    if (code := driver.cuDeviceGetCount(ctypes.byref(count))) != 0:
        return DriverProbe(0, f"the CUDA driver does not list its devices (error {code})")
    if count.value == 0:
        return DriverProbe(0, "a CUDA driver, but no CUDA device")
    return DriverProbe(count.value, f"{count.value} CUDA device{'s' if count.value > 1 else ''}")
