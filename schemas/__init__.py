"""The contracts of fairshard: tables, configuration, policy, verdicts and errors.

Imports pyarrow, the standard library and the YAML reader only, so that anything may depend on it.
"""
