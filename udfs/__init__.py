"""Pure vectorised functions: ``pa.Array`` in, ``pa.Array`` out, or bytes in, evidence out. No engine, no I/O."""
