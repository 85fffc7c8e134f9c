"""The one part that is compiled; all else about the package stands in setup.cfg."""

from setuptools import Extension, setup

# Where there is no compiler the package goes without, and OpenCV does the same more slowly.
setup(
    ext_modules=[
        Extension(
            "fairshard.udfs._shrink",
            ["udfs/_shrink.c"],
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
    ]
)
