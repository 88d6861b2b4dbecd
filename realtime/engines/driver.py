"""Is there a CUDA driver with a device? Asked of the driver itself, since everything else crashes or guesses."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

import msgspec

#: Of CUdevice_attribute in cuda.h of CUDA 13: compute capability, major and minor.
_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76


class Gpu(msgspec.Struct, frozen=True):
    """The device that would run the model: the first that the driver lists.

    Attributes
    ----------
    name
        As the driver calls it.
    capability
        Compute capability as NVIDIA's libraries write it, such as ``SM89``.
    driver
        Version of CUDA that the driver speaks, such as ``13.0``.
    """

    name: str
    capability: str
    driver: str


class DriverProbe(msgspec.Struct, frozen=True):
    """What the CUDA driver says.

    Attributes
    ----------
    devices
        Number of devices; 0 where TensorRT cannot run.
    reason
        Why there are none, or how many there are.
    gpu
        The first device.
    """

    devices: int
    reason: str
    gpu: Gpu | None = None


def probe_driver() -> DriverProbe:
    """Count the CUDA devices through the driver library, and name the first.

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
    gpu = _first_gpu(driver)
    if gpu is None:
        return DriverProbe(0, "the CUDA driver does not describe its first device")
    return DriverProbe(count.value, f"{count.value} CUDA device{'s' if count.value > 1 else ''}", gpu)


def _first_gpu(driver: Any) -> Gpu | None:
    device, major, minor, version = (ctypes.c_int(0) for _ in range(4))
    name = ctypes.create_string_buffer(256)
    codes = (
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDeviceGetName(name, len(name), device),
        driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device),
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device),
        driver.cuDriverGetVersion(ctypes.byref(version)),
    )
    if any(codes):
        return None
    spoken = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"SM{major.value}{minor.value}", spoken)
