import pyarrow as pa

from fairshard.udfs.evidence import number_text


def test_number_text():
    numbers = pa.array([0.285, 3.0, 0.9299999475479126, None, 1234567.0, -0.5], pa.float64())
    assert number_text(numbers).to_pylist() == ["0.285", "3", "0.93", None, "1.235e+06", "-0.5"]
