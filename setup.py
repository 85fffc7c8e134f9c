"""The parts that are compiled; all else about the package stands in setup.cfg."""

from setuptools import Extension, setup

# Where there is no compiler the package goes without, and numpy, Pillow, OpenCV and msgspec do the same more slowly.
setup(
    ext_modules=[
        Extension(
            f"fairshard.udfs.{name}",
            [f"udfs/{name}.c"],
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
        for name in ("_links", "_pixels")
    ]
)
