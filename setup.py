"""The one part that is compiled; all else about the package stands in setup.cfg."""

from setuptools import Extension, setup

# Where there is no compiler the package goes without, and numpy, Pillow and OpenCV do the same more slowly.
setup(
    ext_modules=[
        Extension(
            "fairshard.udfs._pixels",
            ["udfs/_pixels.c"],
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
    ]
)
