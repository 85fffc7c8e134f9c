"""Examples that run offline: the bundled sample web and the configs made for it."""
